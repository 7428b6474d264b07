"""A `.tflite` file on the real accelerator of this machine."""

import dataclasses
import functools
import os
import re
import tempfile

import numpy as np

from kdl._process import run_child, signal_name
from kdl.deploy.devices._rule import REFUSED, RUNS

# Half-precision arithmetic stays far below; what is computed wrong is far above. A last step of
# integers is allowed whatever they are.
LARGEST_RELATIVE_ERROR = 0.02

# Of integers, whose roundings add up from layer to layer: how many times what lies between the
# CPU's own kernels. More than a fifth of the largest output is no rounding any more.
_MOST_OF_ROUNDING = 2
_LARGEST_ROUNDING = 0.2

_WORKER = os.path.join(os.path.dirname(__file__), "_accelerator_worker.py")
_MINUTES = 30
_REFUSALS = re.compile(
    r"Following operations are not supported by GPU delegate:\n(.*?)\n[^\n]*will run on the",
    re.DOTALL,
)
_NO_DRIVER = ("No adapters found", "Failed to initialize WebGPU", "Found no drivers")


@dataclasses.dataclass(frozen=True)
class DeviceRun:
    """Result of a `.tflite` file on the real accelerator.

    Attributes:
        outcome: `"ran"`, `"wrong"` (it ran, and its outputs differ from the CPU's), `"refused"`,
            `"died"` (it ended its process) or `"not comparable"` (the CPU cannot run it).
        cause: Why, if it did not run.
        refused: List of `(operation, reason)`, as the accelerator named them.
        max_error: Largest difference from the CPU's outputs; None if there is nothing to compare.
        relative_error: The same as a share of the largest output.
    """

    outcome: str
    cause: str = ""
    refused: list = dataclasses.field(default_factory=list)
    max_error: float | None = None
    relative_error: float | None = None

    @property
    def verdict(self) -> str:
        """`"runs"` or `"refused"`."""
        return RUNS if self.outcome == "ran" else REFUSED

    def __str__(self):
        lines = [f"On the real accelerator: {self.outcome}"]
        if self.cause:
            lines[0] += f", {self.cause}"
        if self.max_error is not None:
            lines[0] += (
                f"; largest difference from the CPU {self.max_error:.3g} "
                f"({self.relative_error:.2g} of the largest output)"
            )
        return "\n".join([*lines, *(f"  {name}: {reason}" for name, reason in self.refused)])


def run_on_gpu(path):
    """Runs a `.tflite` file on LiteRT's GPU accelerator and on the CPU, and compares the outputs.

    Both take the same random inputs, each in a process of its own that may die: nothing that native
    code does reaches the caller. Equal are outputs that differ by less than 2 % of the largest one;
    integers also if they differ by no more than one step, or than twice what lies between the
    results of XNNPACK and of LiteRT's plain kernels, up to 20 %.

    Args:
        path: The file.

    Returns:
        `DeviceRun`.

    Raises:
        OSError: If this machine has no driver that the accelerator takes.
        ImportError: If `ai-edge-litert` is missing.
    """
    with tempfile.TemporaryDirectory(prefix="kdl-check-") as folder:
        code, messages, outputs = _run(path, folder, "gpu")
        _check_driver(messages)
        _, other_messages, expected = _run(path, folder, "cpu")
        failure = None if outputs else _failure(code, messages)
        if failure and (failure.refused or expected):
            return failure
        if expected is None:
            cause = f"the CPU cannot run it: {_last_error(other_messages)}"
            return DeviceRun("not comparable", cause)
        return _comparison(expected, outputs, lambda: _run(path, folder, "plain")[2])


def _run(path, folder, accelerator):
    """`(exit status, messages, outputs)` of a file on an accelerator."""
    outputs = os.path.join(folder, f"{accelerator}.npz")
    done = run_child(_WORKER, (os.path.abspath(path), outputs, accelerator), timeout=60 * _MINUTES)
    if done.code is None:
        return None, "", None
    if not os.path.exists(outputs) or done.code:
        return done.code, done.messages, None
    with np.load(outputs) as arrays:
        return 0, done.messages, [arrays[name] for name in sorted(arrays, key=int)]


def _check_driver(messages):
    if "No module named 'ai_edge_litert'" in messages:
        raise ImportError("Running .tflite files needs: pip install ai-edge-litert")
    if any(text in messages for text in _NO_DRIVER):
        raise OSError(
            "LiteRT's GPU accelerator finds no Vulkan driver that it takes on this machine. "
            "Install the driver of its GPU, or a software one such as SwiftShader, and let "
            "VK_ICD_FILENAMES name its .json file; or check without run=True."
        )


def _failure(code, messages):
    """`DeviceRun` of a file that gave no outputs."""
    refused = _refusals(messages)
    if code is None:
        return DeviceRun("refused", f"it did not end within {_MINUTES} minutes", refused)
    if code < 0:
        return DeviceRun("died", f"it ended its process by {signal_name(-code)}", refused)
    if refused:
        names = sorted({name for name, _ in refused})
        return DeviceRun("refused", f"it does not take {', '.join(names)}", refused)
    return DeviceRun("refused", _last_error(messages))


def _refusals(messages):
    found = {}
    for block in _REFUSALS.findall(messages):
        for line in block.splitlines():
            name, separator, reason = line.partition(": ")
            if separator:
                found[name.replace("CUSTOM ", "custom:"), reason.strip()] = None
    return list(found)


def _last_error(messages):
    lines = [line.strip() for line in messages.splitlines() if "rror:" in line]
    return lines[-1] if lines else "it gave no reason"


def _comparison(expected, outputs, run_plainly):
    """The verdict on the worst output, each beside its own magnitude."""
    plain = functools.cache(run_plainly)
    judged = [
        _judged(*pair, place, plain)
        for place, pair in enumerate(zip(expected, outputs, strict=True))
    ]
    close, largest, scale = min(judged, key=lambda one: (one[0], -one[1] / one[2]))
    outcome, cause = ("ran", "") if close else ("wrong", "its outputs differ from the CPU's")
    return DeviceRun(outcome, cause, max_error=largest, relative_error=largest / scale)


def _judged(expected, output, place, run_plainly):
    """Tell if an output is near enough, its largest difference, and its magnitude."""
    largest, scale = _largest_difference(expected, output)
    steps = np.issubdtype(expected.dtype, np.integer)
    allowed = max(LARGEST_RELATIVE_ERROR * scale, steps)
    if steps and largest > allowed:
        plain = run_plainly()
        if plain is not None:
            rounding = _MOST_OF_ROUNDING * _largest_difference(expected, plain[place])[0]
            allowed = max(allowed, min(rounding, _LARGEST_ROUNDING * scale))
    return largest <= allowed, largest, scale


def _largest_difference(expected, output):
    """The largest difference of two outputs, and the largest of the first."""
    with np.errstate(invalid="ignore"):  # an accelerator may leave anything in an output
        y, z = (x.ravel().astype("float64") for x in (expected, output))
        difference = np.where((y == z) | (np.isnan(y) & np.isnan(z)), 0, np.abs(y - z))
    largest = float(np.max(difference, initial=0))
    scale = float(np.max(np.abs(y[np.isfinite(y)]), initial=0)) or 1.0
    return largest, scale
