"""Head of RetinaNet: class scores and box offsets of every anchor."""

from typing import Any

import keras

from kdl._checks import check_integer
from kdl.detection._towers_block import GROUPS, TowersBlock


@keras.saving.register_keras_serializable("kdl")
class RetinaNetHead(TowersBlock):
    """Head of RetinaNet: two towers of convolutions, one for classes and one for boxes.

    Each tower is `depth` times a 3×3 convolution and a ReLU, then a 3×3 convolution with `K`, or 4,
    numbers an anchor. All levels of the pyramid share the weights. At the start every class has the
    probability `prior`, so that the many anchors of the background do not swamp the first steps.

    Shapes: a list of features `(batch, height, width, C)`, finest first → a dict of `"box_offsets"`
    `(batch, N, 4)` and `"class_logits"` `(batch, N, K)`, float32, of all anchors: by level, row,
    column and anchor of the cell, in the order of `AnchorGenerator`. Channels of features are at
    axis 1 with `data_format="channels_first"`. Heights and widths are known.

    Args:
        classes: Number of classes `K`, background not counted.
        anchors_per_cell: Anchors at each cell of every level. Defaults to 9.
        filters: Channels of the towers. Defaults to 256.
        depth: Convolutions of a tower before the last. Defaults to 4.
        group_norm: If a group norm of 32 groups stands in place of their biases, as in
            torchvision's second recipe. Defaults to False.
        prior: Probability of a class at the start. Defaults to 0.01.
        **kwargs: `padding`, `data_format`, `name`, `dtype` and `trainable`, as in every block of
            kdl.

    Raises:
        ValueError: If an argument is out of range, or the features are no list of such shapes.

    Source: Lin et al., Focal Loss for Dense Object Detection (arXiv 1708.02002), section 4.

    Example:
        >>> import numpy as np
        >>> head = RetinaNetHead(classes=3, filters=32, data_format="channels_last")
        >>> outputs = head([np.zeros((2, side, side, 16), "float32") for side in (4, 2)])
        >>> tuple(outputs["class_logits"].shape), tuple(outputs["box_offsets"].shape)
        ((2, 180, 3), (2, 180, 4))
    """

    def __init__(
        self,
        classes: int,
        anchors_per_cell: int = 9,
        filters: int = 256,
        depth: int = 4,
        group_norm: bool = False,
        prior: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, filters, depth, prior, **kwargs)
        self.anchors_per_cell = check_integer("anchors_per_cell", anchors_per_cell)
        self.group_norm = group_norm
        self.has_norm, self.has_bias = group_norm, not group_norm
        if group_norm and filters % GROUPS:
            raise ValueError(
                f"With group_norm=True filters must be a multiple of {GROUPS}; received {filters}."
            )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"anchors_per_cell": self.anchors_per_cell, "group_norm": self.group_norm}
        return {**super().get_config(), **own}
