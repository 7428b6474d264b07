"""One class that an image may show."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Classification:
    """One class that an image may show, as `ImageClassifier.predict` gives it.

    Attributes:
        label: Name of the class; its index as text if the file holds no names.
        index: Index of the class in the output.
        score: The file's output for it: a probability, or a logit if the network ends in logits.
    """

    label: str
    index: int
    score: float
