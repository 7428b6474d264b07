"""Complete IoU loss."""

import keras

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses._matched import check_matched
from kdl.ops.box_similarity import ciou_of_pairs
from kdl.ops.boxes import as_boxes


@keras.saving.register_keras_serializable("kdl")
def ciou_loss(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """Complete IoU loss of each box; see `CIoULoss`.

    Args:
        y_true: Boxes `(…, 4)`.
        y_pred: Boxes `(…, 4)`.

    Returns:
        Tensor `(…)`, float32 at least.

    Raises:
        ValueError: If the last axis is not 4, or shapes differ.

    Example:
        >>> import numpy as np
        >>> losses = ciou_loss(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]]))
        >>> [round(float(loss), 4) for loss in losses]
        [0.7436]
    """
    y_true, y_pred = as_boxes(y_true=y_true, y_pred=y_pred)
    check_matched(y_true, y_pred)
    return 1 - ciou_of_pairs(y_pred, y_true)


@keras.saving.register_keras_serializable("kdl")
class CIoULoss(MaskedLoss):
    """Complete IoU loss, for the regression of boxes.

    `L = 1 − CIoU`, as `kdl.ops.box_ciou` has it. It draws the centers
    together and the aspect ratios; the weight of these is a constant for the gradient.

    Boxes are `(x1, y1, x2, y2)`, decoded: of anchors, `kdl.ops.decode_boxes` gives them. Leave rows
    that are no object's out by a sample weight of 0; detectors divide the sum by their number.

    Shapes: labels and predictions `(batch, …, 4)`, values `(batch, …)`, float32.

    Args:
        reduction: As in Keras; `"sum_over_batch_size"` by default.
        name: Name of the loss.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If the last axis of labels or predictions is not 4, or their shapes differ.

    Source: Zheng et al., Distance-IoU Loss (arXiv 1911.08287), section 3.3.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0.0, 0, 2, 2], [0, 0, 2, 2]])
        >>> boxes = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2]])
        >>> round(float(CIoULoss(reduction="sum")(truth, boxes)), 4)
        0.7436
    """

    elementwise = True
    compares = "boxes"  # which detectors decode for it

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "ciou_loss",
        dtype: DType = None,
    ) -> None:
        super().__init__(ciou_loss, locals())
