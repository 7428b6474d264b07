"""From a Keras model of any backend to a proven `.tflite` file."""

import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdl._checks import check_integer
from kdl._files import check_writable, draft_of
from kdl._typing import Path
from kdl.compression.tfmot import TFMOTModel
from kdl.data.input_spec import InputSpec
from kdl.data.model_info import ModelInfo
from kdl.deploy.exporting._data import may_name, read_export_data
from kdl.deploy.exporting._tfmot import write_and_compare
from kdl.deploy.exporting.conversion import ExportError, convert
from kdl.deploy.exporting.explanations import (
    LOW_SQNR,
    explain_low,
    explain_refusal,
    fixed_batch_explained,
    runs_explained,
)
from kdl.deploy.exporting.float_operations import describe_float_operations, describe_state
from kdl.deploy.exporting.precision import as_float32
from kdl.deploy.exporting.proof_data import (
    blind_spots,
    part,
    small_scales,
    unjudged_channels,
    weaknesses,
)
from kdl.deploy.exporting.reference_outputs import check_copy
from kdl.deploy.exporting.signature import check_exportable, named_inputs
from kdl.deploy.exporting.tolerances import TOLERANCES
from kdl.deploy.exporting.verification import Verification
from kdl.deploy.exporting.verify import between_kernels, inputs_of_file, verify_tflite
from kdl.deploy.tflite.file import parsed_once, read_tflite
from kdl.deploy.tflite.metadata import write_metadata
from kdl.graph.wrapper import is_wrapper, network_of
from kdl.layers import FakeQuantize

_QUANTIZATIONS = ("float32", "float16", "dynamic", "int8")

# Against a model that rounds as its file does.
_QUANTIZE_AWARE_TOLERANCES = dataclasses.replace(TOLERANCES["int8"], sqnr=20.0, rounded=True)

# TFLite's dynamic form leaves smaller weights as they are.
_LEAST_DYNAMIC_WEIGHTS = 1024

# Below this ratio a file is wrong, however far LiteRT's kernels are apart on it.
_LEAST_SQNR = 10.0


def export_tflite(
    model: keras.Model,
    path: Path,
    quantization: str = "float32",
    representative_data: Any = None,
    labels: Sequence[str] | None = None,
    batch_size: int = 1,
    input_shape: Any = None,
    verification_data: Any = None,
    input_spec: InputSpec | None = None,
) -> Verification:
    """Writes `model` as a `.tflite` file whose outputs are proven to match the model's.

    The model is saved and converted by TensorFlow in a process of its own, so that it may come from
    any backend and one model gives one file. The file takes a static batch under the name `image`
    and gives `probabilities`, `logits` or `features`; several inputs or outputs keep their keys or
    the names of their layers, numbered where they occur more than once. It holds TFLite's built-in
    operations only. It is run in the LiteRT interpreter and compared with the model, inputs matched
    by name and each output by itself, before it takes its place at `path`; if that fails, what was
    there stays.

    - `"float32"`: the network as it is.
    - `"float16"`: weights stored in half the space.
    - `"dynamic"`: weights in int8, activations quantized while running.
    - `"int8"`: all in int8, input and output too; what accelerators want. The ranges of the
      activations are measured on `representative_data`, or are those of a model of
      `kdl.compression.quantize_aware`, `calibrate` or `tfmot.quantize`, which needs no data and has
      only this form. Its file must be as close to it as 20 dB or, with a warning, as LiteRT's own
      kernels are to each other, and 10 dB at least.

    Args:
        model: A built functional or Sequential model, or one that `prune`, `distill` or
            `tfmot` of `kdl.compression` made around it, which is stripped.
        path: File to write; its folder must exist.
        quantization: One of the above. Defaults to `"float32"`.
        representative_data: Inputs as in use, needed for int8, where 100 to 500 samples do: an
            array `(samples, …)`, or several in the dict or list that the model takes; a pair
            `(inputs, labels)`; or a data set, as `kdl.data.read_samples` takes them; 500 samples of
            a data set are used. Without `verification_data` one in five of 100 and more, and 50 at
            least, is kept for the comparison. A quantized model is only compared on it.
        labels: Class names, kept in the file; as many as an output has classes. By default those
            that the model remembers (`kdl.data.get_model_info`), or those of the data sets.
        batch_size: The file's batch. Defaults to 1.
        input_shape: Shape without batch, needed where the model's own leaves sizes open and no
            `input_spec` tells it; of several inputs a dict or list, as the model takes them.
        verification_data: The same forms, for the comparison and, with labels, for the accuracy;
            1,000 samples of a data set are used. By default `representative_data`, or random
            numbers if there is none. Labels of a data set that names its classes are matched with
            `labels` by name.
        input_spec: `kdl.data.InputSpec` that tells how an image becomes an input, of several the
            one that has its shape; kept in the file, so that `ImageClassifier`, `kdl predict` and
            MediaPipe can take images. By default that which the model remembers, or that of the
            data sets.

    Returns:
        `Verification` of the file.

    Raises:
        ValueError: If an argument is out of range, int8 lacks representative data, data is not
            finite, not in the range that `input_spec` gives, or read by another one, or the model
            is above 2 GB.
        ExportError: A ValueError: the model has no TFLite form, or its outputs differ.
        OSError: If `path` cannot be written (`FileNotFoundError` if its folder does not exist).
        ImportError: If TensorFlow or `ai-edge-litert` is missing.

    Example:
        >>> import keras, kdl, os, tempfile
        >>> x = inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
        >>> model = keras.Model(inputs, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = export_tflite(model, os.path.join(folder, "model.tflite"))
        >>> result.passed
        True
    """
    converts_itself = isinstance(model, TFMOTModel) and model.method == "quantize"
    whole = model
    if is_wrapper(model) and not converts_itself:
        model = model.stripped()
    network = model.model if converts_itself else model
    check_exportable(network)
    quantized = network is not model or _is_quantized(model)
    _check_arguments(quantization, quantized, representative_data, labels, network, batch_size)
    data = read_export_data(
        network, labels, input_spec, input_shape, representative_data, verification_data
    )
    check_writable(path)

    ranges: Any = None if quantized else data.representative
    samples = data.verification
    if quantization == "int8" and not quantized and verification_data is None:
        for_ranges, for_proof = part(ranges)
        ranges, samples = ranges.subset(for_ranges), samples.subset(for_proof)
    if whole is not model:
        check_copy(network_of(whole), samples.inputs)
    shapes = {
        name: (batch_size, *slot.shape) for name, slot in named_inputs(network, data.form).items()
    }
    with draft_of(path) as draft, parsed_once():
        if network is not model:
            result = write_and_compare(
                model, draft, shapes, samples, _QUANTIZE_AWARE_TOLERANCES, data.info
            )
        else:
            model = as_float32(model)
            if model is not network:
                check_copy(network, samples.inputs)
            measured = None if ranges is None else named_inputs(model, ranges.inputs)
            with fixed_batch_explained(model, batch_size):
                convert(model, {quantization: draft}, shapes, measured)
            if data.info != ModelInfo():
                write_metadata(draft, data.info, model.name)
            tolerances = _QUANTIZE_AWARE_TOLERANCES if quantized else None
            with runs_explained(draft, quantization):
                result = verify_tflite(draft, model, samples, tolerances)
        _check_stateless(draft, network)
        if quantization == "int8":
            _check_integers(draft, network, quantized)
        result = _judged(result, draft, network, samples, quantization, quantized)
        note = _note(draft, network, quantization)
    inputs = named_inputs(network, samples.inputs)
    given = representative_data is not None or verification_data is not None
    spec = data.info.input_spec if given else None
    _warn_of_weak_proof(quantization, ranges, samples, inputs, result, spec)
    if not os.fspath(path).endswith(".tflite"):
        warnings.warn(
            f"{path} does not end in .tflite, by which readers know what it is.", stacklevel=2
        )
    return dataclasses.replace(result, path=os.fspath(path), note=note)


def _judged(result, draft, network, samples, quantization, quantized):
    """The result if it is good enough, perhaps beside other tolerances; else ExportError."""
    if quantized and not result.passed:
        result = _held_to_kernels(result, draft, inputs_of_file(network, samples.inputs))
    if not result.passed:
        raise ExportError(explain_refusal(result, quantization))
    if quantized and _gives_one_number(result) and not _are_same(samples):
        raise ExportError(
            "The quantized model gives one number for every input, so that its file proves "
            "nothing: activations below about 1e-12 become zeros. No file was written."
        )
    if quantization == "int8" and _is_low(result):
        warnings.warn(explain_low(result, quantized), stacklevel=3)
    return result


def _check_arguments(quantization, quantized, representative_data, labels, model, batch_size):
    if quantization not in _QUANTIZATIONS:
        raise ValueError(
            f"quantization must be one of {_QUANTIZATIONS}; received {quantization!r}."
        )
    if quantized and quantization != "int8":
        raise ValueError(
            f"The model rounds as an int8 file does, so that is the only form that it has: pass "
            f'quantization="int8"; received {quantization!r}.'
        )
    if quantization == "int8" and not quantized and representative_data is None:
        raise ValueError(
            "int8 needs representative_data: some 100 inputs as the model will see them, from "
            "which the ranges of the activations are measured."
        )
    check_integer("batch_size", batch_size)
    if labels is not None and not may_name(labels, model):
        numbers = " or ".join(str(output.shape[-1]) for output in model.outputs)
        raise ValueError(
            f"Received {len(labels)} labels for a model of {numbers} classes. They name "
            f"the numbers of an output, of an image or each pixel; boxes beside them have none."
        )


def _is_quantized(model):
    """Tell if the model rounds its activations itself."""
    return any(
        isinstance(layer, FakeQuantize) or (hasattr(layer, "layers") and _is_quantized(layer))
        for layer in model.layers
    )


def _check_stateless(path, model):
    """Raises ExportError if the outputs of a file depend on what it was run on before."""
    state = describe_state(path, model)
    if state:
        raise ExportError(
            f"The file would keep a number from one run to the next: {state}. What a layer counts "
            f"or averages while it is called must not change its outputs in inference: leave it "
            f"out where `training` is False. No file was written."
        )


def _check_integers(path, model, quantized):
    """Raises ExportError, or warns if the model itself keeps a part in floating point."""
    operations = describe_float_operations(path, model)
    if not quantized and read_tflite(path).operations["ONE_HOT"]:
        # The converter writes it with the numbers of another scale.
        operations = ", ".join(filter(None, ["ONE_HOT", operations]))
    if not operations:
        return
    if not quantized:
        raise ExportError(
            f"TFLite has no int8 form of {operations}, which would be wrong or stay floating-point "
            f"in the int8 file. kdl.compression.calibrate(model, data) quantizes the rest where "
            f"that has int8 forms and the model can be copied: export what it gives, as int8. Or "
            f"take quantization='dynamic'. No file was written."
        )
    warnings.warn(
        f"{operations} stays floating-point in the int8 file. The report of quantize_aware or "
        f"calibrate says which of the model's and why. An accelerator for integers runs the file "
        f"in part.",
        stacklevel=3,
    )


def _held_to_kernels(result, path, inputs):
    """The result beside tolerances that LiteRT's kernels keep, where they miss the usual ones."""
    apart = between_kernels(path, inputs)
    outputs = []
    for output in result.outputs:
        # NaN opens nothing, and nothing is as open as that all passes.
        open_anyway = np.nanmax([apart[output.name], _LEAST_SQNR])
        tolerances = dataclasses.replace(
            output.tolerances, sqnr=min(output.tolerances.sqnr, open_anyway)
        )
        outputs.append(dataclasses.replace(output, tolerances=tolerances))
    return dataclasses.replace(result, outputs=tuple(outputs))


def _is_low(result):
    """Tell if an output of numbers, not of labels, passed but deserves a look."""
    return any(o.sqnr < LOW_SQNR for o in result.outputs if o.kind != "labels")


def _gives_one_number(result):
    """Tell if the model gives one number alone, whatever goes in."""
    return not any(output.output_range for output in result.outputs)


def _note(path, model, quantization):
    """Why the file is not all that was asked for; empty if it is."""
    kind = read_tflite(path).quantization
    if quantization == "int8":
        operations = describe_float_operations(path, model)
        return f"{operations} in floating point" if operations else ""
    if kind == quantization:
        return ""
    reason = {
        "dynamic": f"no weight has the {_LEAST_DYNAMIC_WEIGHTS:,} elements from which TFLite "
        f"stores it in int8",
        "float16": "there are no weights to store in half the space",
    }
    return f"asked for {quantization}: {reason.get(quantization, f'it holds {kind} weights')}"


def _are_same(samples):
    """Tell if several samples are all alike."""
    return len(samples) > 1 and all(bool((x == x[:1]).all()) for x in samples.arrays)


def _warn_of_weak_proof(quantization, ranges, samples, inputs, result, spec):
    found = []
    if _are_same(samples):
        found.append("all inputs that the file is compared on are the same")
    elif not any(output.varies for output in result.outputs):
        found.append("the model gives nearly the same for every input: pass verification_data")
    else:
        found += blind_spots(inputs)
    found += small_scales(spec, ranges or samples)
    found += unjudged_channels(result.outputs)
    if quantization == "int8":
        found += weaknesses(ranges, samples)
    if found:
        warnings.warn(f"The proof is weak: {'; '.join(found)}.", stacklevel=3)
