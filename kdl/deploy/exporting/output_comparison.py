"""One output of a `.tflite` file beside that of its model."""

import dataclasses

import numpy as np

from kdl._deprecation import renamed_attribute
from kdl.deploy.exporting.tolerances import Tolerances

# Numbers that differ by less than this share of the largest do not count as different.
_NOISE_FLOOR = 1e-6

# The file of a model whose output moves by more than this share of its magnitude must move too.
_CONSTANT = 1 / 128

# One channel in so many may be lost in the noise. Outputs of more channels are feature maps.
_CHANNELS = 20

# Steps of an integer below which a channel of a feature map cannot be told from a constant.
_STEPS = 4

# So many integers beside the commonest show whether these are right.
_FEW_LABELS = 20

# A class whose probability moves by less was not seen: its channel needs no precision.
_UNSEEN_CLASS = 0.25


@dataclasses.dataclass(frozen=True)
class OutputComparison:
    """Comparison of one output of a `.tflite` file with the same output of its Keras model.

    Attributes:
        name: Its name in the file.
        kind: `"scores"` (rows of class scores), `"boxes"`, `"map"` (an image of numbers),
            `"labels"` (integers) or `"features"` (anything else).
        shape: Its shape without the batch.
        samples: Number of inputs compared.
        cosine: Cosine of the angle between the outputs.
        max_error: Largest absolute difference.
        output_range: Largest minus smallest output of the Keras model.
        relative_error: `max_error` as a share of that range, or of the magnitude of an output
            that does not vary.
        sqnr: `10·log10(Σ y² / Σ (y − ŷ)²)` in dB.
        channel_sqnr: `10·log10(variance / mean squared error)` in dB of the worst channel, where
            one in twenty is left out (none of boxes); None for rows that are distributions over
            classes, for labels and for outputs that do not vary.
        agreement: Share of rows, pixels or integers with the same class; None where there are
            no classes.
        compared: Number of those.
        varies: Whether the model gives different outputs for different inputs, by more than one
            part in 128 of their magnitude; True for one input.
        faults: What is wrong whatever the tolerances are: numbers that are not finite, a constant
            where the model's output varies, or integers of which most are lost that are not the
            commonest.
        tolerances: The `Tolerances` that had to be met.
        unjudged: Share of the channels that vary by less than a few steps of the file's integers,
            so that `channel_sqnr` leaves them out.
    """

    name: str
    kind: str
    shape: tuple
    samples: int
    cosine: float
    max_error: float
    output_range: float
    relative_error: float
    sqnr: float
    channel_sqnr: float | None
    agreement: float | None
    compared: int
    varies: bool
    faults: tuple
    tolerances: Tolerances
    unjudged: float = 0.0

    gates = renamed_attribute("gates", "tolerances")

    @property
    def failures(self) -> list[str]:
        """One line for each gate that was missed."""
        checks = [self._agreement_failure()]
        if self.kind != "labels":
            checks = [self._sqnr_failure(), self._error_failure(), *checks]
            checks.append(self._channel_failure())
        lines = [line for line in checks if line]
        if self.faults:  # of which NaN in the measures only follows
            lines = [line for line in lines if " nan " not in f"{line} "]
        return [*self.faults, *lines]

    @property
    def passed(self) -> bool:
        """Tell if all tolerances were met."""
        return not self.failures

    def measures(self) -> list[str]:
        """The figures in words, as a list."""
        parts = [
            f"cosine {self.cosine:.6f}",
            f"largest error {self.max_error:.3g}",
            f"SQNR {self.sqnr:.1f} dB",
        ]
        if self.agreement is not None:
            unit = {"map": "equal pixels", "labels": "equal values"}.get(self.kind, "same class")
            parts.append(f"{unit} {self.agreement:.1%}")
        return parts

    # The conditions are written so that NaN misses each of them.

    def _sqnr_failure(self):
        if self.sqnr >= self.tolerances.sqnr:
            return None
        return f"SQNR {self.sqnr:.1f} dB is below {self.tolerances.sqnr:g} dB"

    def _error_failure(self):
        share = self.tolerances.relative_error
        if self.relative_error <= share:
            return None
        limit = share * self.max_error / self.relative_error
        return f"the largest error {self.max_error:.3g} exceeds {limit:.3g}"

    def _channel_failure(self):
        if self.channel_sqnr is None or self.channel_sqnr >= self.tolerances.channel_sqnr:
            return None
        return (
            f"a channel's error beside its own spread is {self.channel_sqnr:.1f} dB, below "
            f"{self.tolerances.channel_sqnr:g} dB"
        )

    def _agreement_failure(self):
        labels = self.kind == "labels"
        if self.agreement is None or not (labels or _is_row(self.kind, self.shape)):
            return None
        agreed = round(self.agreement * self.compared)
        if labels:
            share = least = self.tolerances.label_agreement
        else:
            share = self.tolerances.top1_agreement
            least = min(share, (self.compared - 1) / self.compared)
        if agreed >= least * self.compared:
            return None
        if labels:
            return f"{self.agreement:.1%} of {self.compared} integers are equal, below {share:.1%}"
        return (
            f"the same class on {self.agreement:.1%} of {self.compared} inputs is below {share:.0%}"
        )


def compare_output(name, expected, actual, tolerances, kind=None, classes=False):
    """Measures an output of a file against the model's, as an `OutputComparison`.

    Args:
        name: Its name.
        expected: The model's output, an array `(samples, …)`.
        actual: The file's, of the same shape.
        tolerances: `Tolerances`.
        kind: One of the kinds of `OutputComparison`; by default, and for integers always, what the
            array looks like.
        classes: Whether the last axis is known to hold classes. Rows of scores and distributions
            over classes are known as such without it.
    """
    # Of integers, however they are called, each one is right or wrong: a ratio says nothing.
    seen = kind_of(expected)
    kind = seen if kind is None or seen == "labels" else kind
    y, z = np.asarray(expected, "float64"), np.asarray(actual, "float64")
    with np.errstate(all="ignore"):
        ratio, unjudged = _channel_sqnr(kind, y, z, tolerances.levels, tolerances.rounded)
        error = float(np.max(np.abs(y - z), initial=0))
        agreed = _agreeing(kind, y, z, classes)
        return OutputComparison(
            name=name,
            kind=kind,
            shape=tuple(y.shape[1:]),
            samples=len(y),
            cosine=_cosine(y, z),
            max_error=error,
            output_range=float(np.ptp(y)) if y.size else 0.0,
            relative_error=_relative(error, y),
            sqnr=sqnr(y, z),
            channel_sqnr=ratio,
            agreement=None if agreed is None else float(np.mean(agreed)),
            compared=0 if agreed is None else agreed.size,
            varies=len(y) < 2 or _varies(y),
            faults=(*_faults(y, z), *(_lost_labels(y, z) if kind == "labels" else ())),
            tolerances=tolerances,
            unjudged=unjudged,
        )


def kind_of(output):
    """The kind of an output by its shape and dtype."""
    image = output.ndim == 4
    if output.dtype.kind in "iub" and not (image and output.shape[-1] == 3):
        return "labels"
    if output.ndim == 2 and output.shape[1] > 1:
        return "scores"
    if output.ndim == 3 and output.shape[-1] == 4:
        return "boxes"
    return "map" if image else "features"


def sqnr(y, z):
    """Signal-to-noise ratio in dB: `10·log10(Σ y² / Σ (y − z)²)`."""
    return _decibels(np.sum(np.square(y)), np.sum(np.square(y - z)))


def _decibels(signal, noise):
    if noise == 0:
        return float("inf")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(10 * np.log10(np.divide(signal, noise)))


def _cosine(y, z):
    y, z = y.ravel(), z.ravel()
    norm = np.linalg.norm(y) * np.linalg.norm(z)
    return float(y @ z / norm) if norm else float(np.array_equal(y, z))


def _relative(error, y):
    """An error as a share of the range of `y`, or of its magnitude if it does not vary."""
    if error == 0:
        return 0.0
    magnitude = np.max(np.abs(y))
    spread = np.ptp(y)
    scale = spread if spread > _NOISE_FLOOR * magnitude else magnitude
    return float(error / scale) if scale else float("inf")


def _is_row(kind, shape):
    """Tell if an output of a shape without batch is a row of class scores."""
    return kind == "scores" and len(shape) == 1 and shape[0] > 1


def _agreeing(kind, y, z, classes):
    """Boolean for each row, pixel or integer, whether both name the same class; or None."""
    if kind == "labels":
        return y == z
    if classes or _is_row(kind, y.shape[1:]) or (y.ndim > 2 and _is_distribution(y)):
        return np.argmax(y, axis=-1) == np.argmax(z, axis=-1)
    return None


def _is_distribution(y):
    """Tell if the last axis holds probabilities of two classes or more."""
    if y.shape[-1] < 2 or not y.size or not np.all(y >= 0):
        return False
    return bool(np.all(np.abs(np.sum(y, axis=-1) - 1) < 1e-3))


def _channel_sqnr(kind, y, z, levels, rounded):
    """Spread over error of the worst channel that counts, and the share of those too small for it.

    The first is None where nothing varies.
    """
    if kind == "labels" or not y.size or (_is_row(kind, y.shape[1:]) and _is_distribution(y)):
        return None, 0.0
    channels = y.shape[-1] if y.ndim > 1 else 1
    y, z = y.reshape(-1, channels), z.reshape(-1, channels)
    signal, noise = np.var(y, axis=0), np.mean(np.square(y - z), axis=0)
    floor = np.square(_NOISE_FLOOR * np.max(np.abs(y), axis=0))
    varies = counts = signal > floor
    if levels and kind != "boxes" and (rounded or channels > _CHANNELS):
        counts = varies & (signal > np.square(_STEPS * np.ptp(y) / (levels - 1)))
    unjudged = 1 - float(counts.sum() / varies.sum()) if varies.any() else 0.0
    if not counts.any():
        return None, unjudged
    probabilities = kind != "boxes" and y.min() >= 0 and y.max() <= 1
    if probabilities:
        counts = counts & (np.ptp(y, axis=0) > _UNSEEN_CLASS)
    noise = np.where(noise > floor, noise, 0)
    ratios = sorted(_decibels(s, n) for s, n in zip(signal[counts], noise[counts], strict=True))
    worst = ratios[0 if kind == "boxes" else len(ratios) // _CHANNELS] if ratios else np.inf
    if probabilities:  # small ones are those of classes that were not seen
        return min(worst, _decibels(signal.sum(), noise.sum())), 0.0
    return worst, unjudged


def _faults(y, z):
    for values, whose in ((y, "the model's"), (z, "the file's")):
        lost = int(np.sum(~np.isfinite(values)))
        if lost:
            yield f"{lost} of {whose} {values.size} numbers are not finite (NaN or infinite)"
    if len(y) < 2 or not y.size or not np.isfinite(y).all():
        return
    if _varies(y) and not np.ptp(z, axis=0).any():
        yield "the file gives the same for every input where the model's output varies"


def _varies(y):
    """Tell if outputs for different inputs differ by more than a file may leave out."""
    return bool(y.size and np.ptp(y, axis=0).max() > _CONSTANT * np.abs(y).max())


def _lost_labels(y, z):
    """Tell if a file gives the commonest integer where the model gives others."""
    values, counts = np.unique(y, return_counts=True)
    others = y != values[counts.argmax()] if len(values) else np.zeros(y.shape, bool)
    if np.sum(others) >= _FEW_LABELS and np.mean(z[others] == y[others]) < 0.5:
        yield f"of {np.sum(others)} integers that are not the commonest, most are other ones"
