"""Device compatibility check of a `.tflite` file, before the device is at hand."""

import dataclasses

from kdl._typing import Path
from kdl.deploy.devices._cpu_rules import CPU
from kdl.deploy.devices._edgetpu_rules import EDGE_TPU, EDGE_TPU_COMPILED
from kdl.deploy.devices._gpu_rules import GPU
from kdl.deploy.devices._operation_facts import compiled_for_edgetpu, float_quantize
from kdl.deploy.devices._operation_macs import counted_macs, uncounted
from kdl.deploy.devices._rule import MAY_FALL_BACK, REFUSED, RUNS
from kdl.deploy.devices.device_report import DeviceReport, OperationVerdict
from kdl.deploy.devices.device_run import run_on_gpu
from kdl.deploy.tflite.graph import read_operations

_RULES = {rules.target: rules for rules in (GPU, EDGE_TPU, CPU)}


def check(path: Path, target: str = "gpu", run: bool = False) -> DeviceReport:
    """Says of each operation of a `.tflite` file whether a device will run it.

    The file is read, not run, so neither TensorFlow nor the device is needed. The verdicts follow
    from tables of what was measured on LiteRT's own accelerator and interpreter, or what the maker
    of the device has published; the `source` of each says which, and of what version:

    - `"runs"`: the device takes it.
    - `"may fall back"`: it is known to be left to the CPU at times, or on a CPU to slower kernels.
    - `"unknown"`: it was not measured, and nothing is published.
    - `"refused"`: it is left to the CPU, computed wrong, or ends the process.

    Targets:

    - `"gpu"`: LiteRT's accelerator for mobile GPUs, as measured with ai-edge-litert.
    - `"edgetpu"`: Coral's Edge TPU, which takes int8 only, and only what comes before the first
      operation that it cannot take. Of a file that its compiler has written, it runs the
      `edgetpu-custom-op` and nothing else.
    - `"cpu"`: LiteRT's interpreter, where falling back means TFLite's own kernels, which are slower
      than XNNPACK's, and refused that no kernel computes it. The custom operations that it has are
      judged like any other.

    Args:
        path: The file.
        target: `"gpu"`, `"edgetpu"` or `"cpu"`. Defaults to `"gpu"`.
        run: Whether to run it on the GPU of this machine too, in a process that may die, and to
            compare the outputs with the CPU's. Needs a Vulkan driver. Defaults to `False`.

    Returns:
        `DeviceReport`; look at `verdict`, print it, or `save` it as a page.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `target` is unknown, `run` is wanted of another than the GPU, or the file is
            no TFLite model, or truncated.
        OSError: If `run` finds no driver.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import keras, os, tempfile
        >>> from kdl.deploy import check, export_tflite
        >>> inputs = keras.Input((8, 8, 4))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(8, 3, groups=2)(inputs))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.tflite")
        ...     proof = export_tflite(model, path)
        ...     report = check(path)
        >>> report.verdict, report.operations[0].cause
        ('refused', 'mobile GPUs compute 2 groups of 2 input and 4 output channels wrong, or die')
    """
    if target not in _RULES:
        raise ValueError(f"target must be one of {tuple(_RULES)}; received {target!r}.")
    if run and target != "gpu":
        raise ValueError(f'run=True is for target="gpu"; received target={target!r}.')
    graph = read_operations(path)
    rules = _rules(target, graph)
    try:
        macs = counted_macs(graph.operations)
        verdicts = [_verdict(rules, *pair) for pair in zip(graph.operations, macs, strict=True)]
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(
            f"{graph.path} is damaged: an operation lacks inputs or options that it needs "
            f"({type(error).__name__}: {error}). Export it again."
        ) from error
    if rules.one_partition:
        verdicts = _after_the_first_refusal(verdicts, graph.operations, rules)
    report = DeviceReport(graph.path, target, rules.title, verdicts, notes=list(_notes(graph)))
    return dataclasses.replace(report, run=run_on_gpu(path)) if run else report


def _rules(target, graph):
    compiled = any(map(compiled_for_edgetpu, graph.operations))
    return EDGE_TPU_COMPILED if target == "edgetpu" and compiled else _RULES[target]


def _notes(graph):
    """Assumptions of the verdicts and multiply-adds."""
    for x in graph.inputs:
        if x is not None and x.dynamic:
            sizes = ["?" if i in x.dynamic_axes else str(n) for i, n in enumerate(x.shape)]
            yield (
                f"Input {x.label} has dynamic dimensions ({'×'.join(sizes)}): it is judged, and "
                f"LiteRT runs it, with 1 in their place until the app resizes it. Export with a "
                f"fixed input shape to be sure."
            )
    without_count = uncounted(graph.operations)
    if without_count:
        yield (
            f"How much {', '.join(without_count)} multiplies is not known: the multiply-adds and "
            f"their shares are those of the other operations."
        )
    names = {operation.name for operation in graph.operations}
    if "IF" in names:
        yield "Of the branches of an IF the one with more multiply-adds is counted."
    if "WHILE" in names:
        yield "The body of a WHILE is counted once, however often it runs."


def _verdict(rules, operation, macs):
    verdict, cause, rewrite, source = rules.judge(operation)
    return OperationVerdict(
        index=operation.index,
        operation=operation.name,
        name=operation.outputs[0].label if operation.outputs else "",
        inputs=[str(x) if x else "none" for x in operation.inputs],
        outputs=[str(x) for x in operation.outputs],
        reads=sorted({producer.index for producer in operation.producers if producer}),
        macs=macs,
        verdict=verdict,
        cause=cause,
        rewrite=rewrite,
        source=source,
    )


def _after_the_first_refusal(verdicts, operations, rules):
    """Operations after one that the device does not take are lost to it, too."""
    first, found = None, []
    for verdict, operation in zip(verdicts, operations, strict=True):
        # A float input is quantized before the partition begins.
        at_entry = not verdict.reads and operation.name == "QUANTIZE" and float_quantize(operation)
        if first is None or _worse(verdict.verdict, first.verdict):
            found.append(verdict)
        else:
            found.append(_lost(verdict, first, rules))
        if verdict.verdict != RUNS and not at_entry:
            worst_yet = first is None or (first.verdict != REFUSED == verdict.verdict)
            first = verdict if worst_yet else first
    return found


def _worse(one, other):
    """Tell if a verdict stands whatever came before."""
    return one == REFUSED or (one != RUNS and other != REFUSED)


def _lost(verdict, first, rules):
    certain = first.verdict == REFUSED
    return dataclasses.replace(
        verdict,
        verdict=REFUSED if certain else MAY_FALL_BACK,
        cause=f"it comes after #{first.index} {first.operation}, which "
        f"{'is left' if certain else 'may be left'} to the CPU: {rules.title} takes one "
        f"partition",
        rewrite=f"fix #{first.index}",
        source=first.source,
    )
