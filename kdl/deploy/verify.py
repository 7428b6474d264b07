"""Does a `.tflite` file answer like the model it came from?"""

import dataclasses

import keras
import numpy as np

from kdl.deploy.precision import as_float32
from kdl.deploy.runner import TFLiteRunner
from kdl.deploy.signature import output_names
from kdl.deploy.tflite_file import read_tflite


@dataclasses.dataclass(frozen=True)
class Gates:
    """What a file must reach to count as equal to its model.

    Attributes:
        sqnr: Least signal-to-noise ratio of the outputs in dB.
        relative_error: Largest error allowed, as a share of the outputs' range.
        top1_agreement: Least share of inputs on which both name the same class; one disagreement
            is always allowed, since a single tie proves nothing.
    """

    sqnr: float
    relative_error: float = float("inf")
    top1_agreement: float = 0.0


# What each form reached on trained networks leaves a wide margin above these.
GATES = {
    "float32": Gates(sqnr=100.0, relative_error=1e-4),
    "float16": Gates(sqnr=45.0),
    "dynamic": Gates(sqnr=25.0),
    "int8": Gates(sqnr=15.0, top1_agreement=0.95),
}


@dataclasses.dataclass(frozen=True)
class Verification:
    """Comparison of a `.tflite` file with its Keras model on the same inputs.

    Attributes:
        path: The file.
        quantization: `"float32"`, `"float16"`, `"dynamic"` or `"int8"`.
        samples: Number of inputs compared.
        cosine: Cosine of the angle between the outputs.
        max_error: Largest absolute difference.
        output_range: Largest minus smallest output of the Keras model.
        sqnr: `10·log10(Σ y² / Σ (y − ŷ)²)` in dB.
        top1_agreement: Share of inputs with the same class; None if the output is not a row of
            class scores.
        keras_accuracy: Accuracy of the Keras model, if labels were given.
        tflite_accuracy: Accuracy of the file, if labels were given.
        gates: The gates that had to be met.
    """

    path: str
    quantization: str
    samples: int
    cosine: float
    max_error: float
    output_range: float
    sqnr: float
    top1_agreement: float | None
    keras_accuracy: float | None
    tflite_accuracy: float | None
    gates: Gates

    @property
    def failures(self):
        """One line for each gate that was missed."""
        found = []
        if not self.sqnr >= self.gates.sqnr:
            found.append(f"SQNR {self.sqnr:.1f} dB is below {self.gates.sqnr:g} dB")
        limited = np.isfinite(self.gates.relative_error)
        limit = self.gates.relative_error * self.output_range if limited else np.inf
        if not self.max_error <= max(limit, np.finfo("float32").tiny):
            found.append(f"the largest error {self.max_error:.3g} exceeds {limit:.3g}")
        if self.top1_agreement is not None:
            agreed = round(self.top1_agreement * self.samples)
            needed = min(self.gates.top1_agreement * self.samples, self.samples - 1)
            if agreed < needed:
                found.append(
                    f"the same class on {self.top1_agreement:.1%} of {self.samples} inputs is "
                    f"below {self.gates.top1_agreement:.0%}"
                )
        return found

    @property
    def passed(self):
        """Whether all gates were met."""
        return not self.failures

    def __str__(self):
        parts = [
            f"{self.path}: {'passed' if self.passed else 'FAILED'} as {self.quantization}",
            f"{self.samples} inputs",
            f"cosine {self.cosine:.6f}",
            f"largest error {self.max_error:.3g}",
            f"SQNR {self.sqnr:.1f} dB",
        ]
        if self.top1_agreement is not None:
            parts.append(f"same class {self.top1_agreement:.1%}")
        if self.keras_accuracy is not None:
            parts.append(f"accuracy {self.keras_accuracy:.4f} → {self.tflite_accuracy:.4f}")
        return ", ".join(parts + self.failures)


def verify_tflite(path, model, data, gates=None):
    """Runs a `.tflite` file in the LiteRT interpreter and compares it with its Keras model.

    The Keras model is run on the current backend, in float32 whatever its dtype policy. Integer
    inputs and outputs are converted by the file's own scales.

    Args:
        path: The file.
        model: The Keras model that it was exported from.
        data: Inputs as an array `(samples, …)`, or a pair `(inputs, labels)`, the labels as
            integers or one-hot rows; with labels the accuracy of both is measured.
        gates: `Gates` to apply; by default those of the file's kind: float32 SQNR ≥ 100 dB and
            error ≤ 1e-4 of the range, float16 ≥ 45 dB, dynamic ≥ 25 dB, int8 ≥ 15 dB and the same
            class on 95 % of the inputs.

    Returns:
        `Verification`; look at `passed` and `failures`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or the data does not fit it.
        ImportError: If `ai-edge-litert` is missing.
    """
    inputs, labels = split_labels(data)
    summary = read_tflite(path)
    runner = TFLiteRunner(path)
    runner.check_inputs(inputs)
    actual = runner.predict(inputs)
    expected = _reference_outputs(model, inputs, runner)
    kind = summary.quantization
    return compare_outputs(path, kind, expected, actual, labels, gates or GATES[kind])


def compare_outputs(path, quantization, expected, actual, labels, gates):
    """Measures two lists of output arrays against each other, as a `Verification`."""
    pairs = list(zip(expected, actual, strict=True))
    for one, other in pairs:
        if one.shape != other.shape:
            raise ValueError(
                f"{path} gives outputs of shape {other.shape} where the model gives {one.shape}: "
                f"it was exported from another model."
            )
    y = np.concatenate([one.ravel() for one, _ in pairs]).astype("float64")
    z = np.concatenate([other.ravel() for _, other in pairs]).astype("float64")
    scores = len(pairs) == 1 and pairs[0][0].ndim == 2 and pairs[0][0].shape[1] > 1
    classes = [np.argmax(one, axis=-1) for one in pairs[0]] if scores else None
    return Verification(
        path=str(path),
        quantization=quantization,
        samples=len(pairs[0][0]),
        cosine=_cosine(y, z),
        max_error=float(np.max(np.abs(y - z))),
        output_range=float(np.ptp(y)),
        sqnr=_sqnr(y, z),
        top1_agreement=float(np.mean(classes[0] == classes[1])) if scores else None,
        keras_accuracy=_accuracy(classes and classes[0], labels),
        tflite_accuracy=_accuracy(classes and classes[1], labels),
        gates=gates,
    )


def between_kernels(path, inputs):
    """SQNR in dB between the answers of XNNPACK and of LiteRT's plain kernels to one file.

    They round integers otherwise at times. In a deep network such a step moves others, until its
    answers are open by some dB, whatever the file is compared with.

    Args:
        path: The file.
        inputs: Array `(samples, …)`.

    Returns:
        Decibels; infinite if they answer alike.
    """
    fast, plain = (TFLiteRunner(path, delegate=choice).predict(inputs) for choice in (True, False))
    y, z = (np.concatenate([x.ravel() for x in outputs]) for outputs in (fast, plain))
    return _sqnr(y.astype("float64"), z.astype("float64"))


def split_labels(data):
    """`(inputs, labels)` of an array or of a pair; labels are integers `(samples,)` or None."""
    inputs, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    inputs = keras.ops.convert_to_numpy(inputs)
    if inputs.ndim < 2 or not len(inputs):
        raise ValueError(f"Expected inputs (samples, …), at least one; received {inputs.shape}.")
    if labels is None:
        return inputs, None
    labels = np.asarray(labels)
    labels = labels.argmax(-1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
    if len(labels) != len(inputs):
        raise ValueError(f"Received {len(inputs)} inputs but {len(labels)} labels.")
    return inputs, labels


def _reference_outputs(model, inputs, runner):
    """Outputs of the Keras model in float32, in the order in which the file gives them."""
    outputs = as_float32(model).predict(inputs, batch_size=32, verbose=0)
    return in_order_of_file(outputs, model, runner)


def in_order_of_file(outputs, model, runner):
    """A list of the model's `outputs`, in the order in which the file gives them."""
    named = dict(zip(output_names(model), keras.tree.flatten(outputs), strict=True))
    if len(named) == len(runner.output_names) == 1:
        return list(named.values())
    if set(named) != set(runner.output_names):
        raise ValueError(
            f"{runner.path} gives {runner.output_names} where the model gives {list(named)}: it "
            f"was exported from another model."
        )
    return [named[name] for name in runner.output_names]


def _cosine(y, z):
    norm = np.linalg.norm(y) * np.linalg.norm(z)
    return float(y @ z / norm) if norm else float(np.array_equal(y, z))


def _sqnr(y, z):
    signal, noise = np.sum(y**2), np.sum((y - z) ** 2)
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def _accuracy(classes, labels):
    if classes is None or labels is None:
        return None
    return float(np.mean(classes == labels))
