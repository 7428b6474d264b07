"""The verdict on a `.tflite` file."""

import dataclasses
from typing import Any

import numpy as np

from kdl._deprecation import renamed_attribute
from kdl._report import Report
from kdl._words import counted


@dataclasses.dataclass(frozen=True)
class Verification(Report):
    """Comparison of a `.tflite` file with its Keras model on the same inputs.

    Every output is judged by itself, and the file passes if all of them do. `cosine`, `max_error`,
    `output_range`, `sqnr`, `top1_agreement` and `tolerances` are those of the output, or the worst
    of several: the least ratio, the largest error and the range of its output.

    Attributes:
        path: The file.
        quantization: `"float32"`, `"float16"`, `"dynamic"`, `"int8"` or `"int16"`: what the file
            holds.
        samples: Number of inputs compared.
        outputs: Tuple of an `OutputComparison` for each output, in the order of the file.
        keras_accuracy: Accuracy of the Keras model, if labels were given; of its pixels, if they
            are label maps.
        tflite_accuracy: Accuracy of the file, likewise.
        keras_mean_iou: Mean intersection over union of the model, if label maps were given.
        tflite_mean_iou: That of the file.
        note: Why the file is not quite what was asked for; empty if it is.
    """

    path: str
    quantization: str
    samples: int
    outputs: tuple
    keras_accuracy: float | None = None
    tflite_accuracy: float | None = None
    keras_mean_iou: float | None = None
    tflite_mean_iou: float | None = None
    note: str = ""

    @property
    def cosine(self) -> float:
        """Cosine of the angle between the outputs; the least of several."""
        return float(np.min([output.cosine for output in self.outputs]))

    @property
    def max_error(self) -> float:
        """Largest absolute difference."""
        return float(np.max([output.max_error for output in self.outputs]))

    @property
    def output_range(self) -> float:
        """Largest minus smallest number of the model's output that has the largest error."""
        errors = [output.max_error for output in self.outputs]
        return self.outputs[int(np.argmax(errors))].output_range

    @property
    def sqnr(self) -> float:
        """Signal-to-noise ratio in dB; the least of several. Labels count by `failures` alone."""
        ratios = [output.sqnr for output in self.outputs if output.kind != "labels"]
        return float(np.min(ratios or [output.sqnr for output in self.outputs]))

    @property
    def top1_agreement(self) -> float | None:
        """Share of rows of scores, pixels or labels with the same class; None without classes."""
        shares = [output.agreement for output in self.outputs if output.agreement is not None]
        return min(shares) if shares else None

    @property
    def tolerances(self) -> Any:
        """The `Tolerances` that had to be met; of several outputs, those with the lowest ratio."""
        return min((output.tolerances for output in self.outputs), key=lambda each: each.sqnr)

    gates = renamed_attribute("gates", "tolerances")

    @property
    def failures(self) -> list[str]:
        """One line for each gate that was missed, with the output's name if there are several."""
        named = len(self.outputs) > 1
        return [
            f"{output.name}: {line}" if named else line
            for output in self.outputs
            for line in output.failures
        ]

    @property
    def passed(self) -> bool:
        """Tell if all outputs met their tolerances."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values, with the verdict and the worst of the outputs."""
        names = ("passed", "failures", "cosine", "max_error", "output_range", "sqnr")
        summary = {name: getattr(self, name) for name in (*names, "top1_agreement")}
        return {**super().to_dict(), **summary}

    def __str__(self):
        inputs = counted(self.samples, "input")
        verdict = "passed" if self.passed else "FAILED"
        parts = [f"{self.path}: {verdict} as {self.quantization}", inputs]
        if len(self.outputs) == 1:
            parts += self.outputs[0].measures()
            return ", ".join([*parts, *self._accuracies(), *self.failures, *self._notes()])
        parts += [f"{len(self.outputs)} outputs", *self._accuracies(), *self._notes()]
        return "\n".join([", ".join(parts), *self._rows()])

    def _accuracies(self):
        pairs = {
            "accuracy": (self.keras_accuracy, self.tflite_accuracy),
            "mean IoU": (self.keras_mean_iou, self.tflite_mean_iou),
        }
        return [f"{name} {a:.4f} → {b:.4f}" for name, (a, b) in pairs.items() if a is not None]

    def _notes(self):
        return [self.note] if self.note else []

    def _rows(self):
        """A line for each output, with the names and kinds below each other."""
        width = max(len(output.name) for output in self.outputs)
        for output in self.outputs:
            verdict = "passed" if output.passed else "FAILED"
            figures = ", ".join([*output.measures(), *output.failures])
            yield f"  {output.name:{width}}  {output.kind:8}  {verdict}  {figures}"
