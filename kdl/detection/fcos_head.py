"""Head of FCOS: class scores, distances to the sides and center-ness of every point."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._typing import Shape, Tensor
from kdl.detection._towers_block import GROUPS, TowersBlock
from kdl.layers._chain import run_chain


@keras.saving.register_keras_serializable("kdl")
class FCOSHead(TowersBlock):
    """Head of FCOS: two towers of convolutions, one for classes, one for boxes and center-ness.

    Each tower is `depth` times a 3×3 convolution, a group norm of 32 groups and a ReLU. A 3×3
    convolution gives `K` logits a point; on the other tower one with a ReLU gives the distances to
    the four sides, and one the logit of the center-ness. All levels of the pyramid share the
    weights. At the start every class has the probability `prior`.

    Shapes: a list of features `(batch, height, width, C)`, finest first → a dict of `"box_offsets"`
    `(batch, N, 4)`, `"class_logits"` `(batch, N, K)` and `"centerness_logits"` `(batch, N)`,
    float32, of all points: by level, row and column, in the order of `AnchorGenerator`. Channels of
    features are at axis 1 with `data_format="channels_first"`. Heights and widths are known.

    Args:
        classes: Number of classes `K`, background not counted.
        filters: Channels of the towers, a multiple of 32. Defaults to 256.
        depth: Convolutions of a tower before the last. Defaults to 4.
        prior: Probability of a class at the start. Defaults to 0.01.
        **kwargs: `padding`, `data_format`, `name`, `dtype` and `trainable`, as in every block of
            kdl.

    Raises:
        ValueError: If an argument is out of range, or the features are no list of such shapes.

    Source: Tian et al., FCOS (arXiv 1904.01355), section 3; the center-ness stands on the tower of
    boxes, as in the authors' later code and in torchvision.

    Example:
        >>> import numpy as np
        >>> head = FCOSHead(classes=3, filters=32, depth=1, data_format="channels_last")
        >>> outputs = head([np.zeros((2, side, side, 16), "float32") for side in (4, 2)])
        >>> {key: tuple(outputs[key].shape) for key in sorted(outputs)}
        {'box_offsets': (2, 20, 4), 'centerness_logits': (2, 20), 'class_logits': (2, 20, 3)}
    """

    has_norm = True

    def __init__(
        self,
        classes: int,
        filters: int = 256,
        depth: int = 4,
        prior: float = 0.01,
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, filters, depth, prior, **kwargs)
        if filters % GROUPS:
            raise ValueError(f"filters must be a multiple of {GROUPS}; received {filters}.")

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> dict[str, Shape]:
        """Shapes of the distances and logits."""
        shapes = super().compute_output_shape(input_shape)
        return {**shapes, "centerness_logits": shapes["box_offsets"][:2]}

    def _build_boxes(self, shape: Shape) -> None:
        self.box_offsets = self._last(4, "box_offsets", shape, relu=True)
        self.centerness = self._last(1, "centerness", shape)

    def _of_boxes(self, x: Tensor, training: bool | None) -> dict[str, Tensor]:
        logits = run_chain(self.centerness, x, training)
        rows = self._rows(logits, self.anchors_per_cell, 1)[..., 0]
        return {**super()._of_boxes(x, training), "centerness_logits": rows}
