"""Tolerances within which the outputs of a `.tflite` file match those of its model."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Tolerances:
    """Limits that each output of a file must keep.

    Attributes:
        sqnr: Least signal-to-noise ratio of an output in dB.
        relative_error: Largest error allowed, as a share of the output's range. Infinite by
            default.
        top1_agreement: Least share of inputs on which both name the same class, for outputs that
            are class scores; one disagreement is always allowed, since a single tie proves nothing.
            Defaults to 0.
        channel_sqnr: Least ratio in dB between the spread of a channel and its error, for all but
            one in twenty channels of outputs that are no class scores. None by default.
        label_agreement: Least share of equal numbers in outputs of integers. Defaults to 0.
        levels: Numbers that the file can tell apart in an output's range. In an output of more than
            20 channels, which is a feature map and no row of boxes or scores, channels whose
            standard deviation is below four of these steps are not held to `channel_sqnr`. None by
            default.
        rounded: Whether the model's own outputs are rounded to these levels, so that its file may
            be a step away from it: then that is so whatever the number of channels. Defaults to
            False.
    """

    sqnr: float
    relative_error: float = float("inf")
    top1_agreement: float = 0.0
    channel_sqnr: float = float("-inf")
    label_agreement: float = 0.0
    levels: int | None = None
    rounded: bool = False


# What each form reached on trained networks leaves a wide margin above these. A channel that is
# shuffled, inverted or left out reaches 0 dB at most.
TOLERANCES = {
    "float32": Tolerances(
        sqnr=100.0, relative_error=1e-4, channel_sqnr=40.0, label_agreement=0.999
    ),
    "float16": Tolerances(sqnr=45.0, channel_sqnr=20.0, label_agreement=0.99),
    "dynamic": Tolerances(sqnr=25.0, channel_sqnr=6.0, label_agreement=0.95),
    "int16": Tolerances(sqnr=20.0, top1_agreement=0.95, channel_sqnr=3.0, label_agreement=0.95),
    "int8": Tolerances(
        sqnr=15.0, top1_agreement=0.95, channel_sqnr=3.0, label_agreement=0.95, levels=256
    ),
}
