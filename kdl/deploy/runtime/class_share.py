"""One class that an image shows, and how much of it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ClassShare:
    """One class among the pixels of an image, as `Segmentation.shares` gives it.

    Attributes:
        label: Name of the class; its number as text if it has no name.
        index: Number of the class in the label map.
        share: Share of the pixels, in (0, 1].
    """

    label: str
    index: int
    share: float
