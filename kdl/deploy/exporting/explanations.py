"""Reasons in words why a file was refused, and what to do."""

import contextlib

from kdl.deploy.exporting.conversion import ExportError

# int8 outputs below this ratio still pass, but deserve a look.
LOW_SQNR = 20.0

# In dB: what float32 leaves in the deepest networks, and less than any fault.
_OWN_ROUNDING = 80


@contextlib.contextmanager
def runs_explained(draft, quantization):
    """Within it a failure of LiteRT tells of the file that would have been, not of its draft."""
    try:
        yield
    except ValueError as error:
        _, cannot, reason = str(error).partition(f"{draft} cannot be run by LiteRT: ")
        if not cannot:
            raise
        advice = (
            " A ReLU that gives zeros for all of representative_data has a scale that its kernels "
            "do not take: kdl.compression.calibrate(model, data) gives it another."
        )
        raise ExportError(
            f"LiteRT cannot run the {quantization} file: {reason}"
            f"{advice if quantization == 'int8' else ''} No file was written."
        ) from error


@contextlib.contextmanager
def fixed_batch_explained(model, batch_size):
    """Within it a failure tells of the batch that the model was made for, if it is another one."""
    try:
        yield
    except ExportError as error:
        fixed = {x.shape[0] for x in model.inputs} - {None, batch_size}
        if not fixed:
            raise
        raise ExportError(
            f"The model is made for batches of {fixed.pop()}, and has no form for {batch_size}: "
            f"pass that as batch_size, or make its inputs without it. {error}"
        ) from error


def explain_refusal(result, quantization):
    """Message of the ExportError for a file that did not pass: what was missed, and what to do."""
    advice = {
        "int8": "Was the model trained, or its batch normalization run on data? Does "
        "representative_data look like the inputs in use?",
        "float32": "Does the model mix the samples of a batch, or give other outputs on "
        "TensorFlow, which converts it? Else this is a defect of the conversion: please report it "
        "with the model.",
    }
    if any(" of the model's " in line for line in result.failures):
        advice[quantization] = "The model itself gives them: are its weights finite?"
    elif any(o.failures and not o.varies for o in result.outputs):
        advice[quantization] = (
            "The model's outputs hardly vary with the inputs that were compared, so that what "
            "rounding leaves is large beside them: pass verification_data of your own."
        )
    elif quantization == "float32" and _is_hardly_less(result):
        advice[quantization] = (
            "So little may be what float32 itself leaves in a deep network with random weights, or "
            "with batch norms run on little data: export it trained. If it is, please report it "
            "with the model."
        )
    default = "Compare with float32 to see what the smaller form costs."
    return (
        f"The {quantization} file's outputs do not match the model's: "
        f"{'; '.join(result.failures)}. {advice.get(quantization, default)} No file was written."
    )


def explain_low(result, quantized):
    """Message of the warning for an int8 file that passed, but is far from its model."""
    text = (
        f"The int8 file is faithful only to {result.sqnr:.1f} dB; above {LOW_SQNR:.0f} dB is usual."
    )
    if not quantized:
        return f"{text} More representative data may help."
    return (
        f"{text} LiteRT's own kernels are {result.tolerances.sqnr:.1f} dB apart on it: so deep a "
        f"network rounds too often for outputs that are closer."
    )


def _is_hardly_less(result):
    """Tell if outputs miss what their size is judged by alone, and by little."""
    missed = [output for output in result.outputs if output.failures]
    lines = [line for output in missed for line in output.failures]
    alone = all(line.startswith(("SQNR", "the largest error")) for line in lines)
    return alone and all(output.sqnr > _OWN_ROUNDING for output in missed)
