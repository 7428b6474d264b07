"""Distance IoU loss."""

import keras

from kdl._typing import ArrayLike, DType, Tensor
from kdl.losses._masked_loss import MaskedLoss
from kdl.losses._matched import check_matched
from kdl.ops.box_similarity import diou_of_pairs
from kdl.ops.boxes import as_boxes


@keras.saving.register_keras_serializable("kdl")
def diou_loss(y_true: ArrayLike, y_pred: ArrayLike) -> Tensor:
    """Distance IoU loss of each box; see `DIoULoss`.

    Args:
        y_true: Boxes `(…, 4)`.
        y_pred: Boxes `(…, 4)`.

    Returns:
        Tensor `(…)`, float32 at least.

    Raises:
        ValueError: If the last axis is not 4, or shapes differ.

    Example:
        >>> import numpy as np
        >>> losses = diou_loss(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2]]))
        >>> [round(float(loss), 4) for loss in losses]
        [0.7436]
    """
    y_true, y_pred = as_boxes(y_true=y_true, y_pred=y_pred)
    check_matched(y_true, y_pred)
    return 1 - diou_of_pairs(y_pred, y_true)


@keras.saving.register_keras_serializable("kdl")
class DIoULoss(MaskedLoss):
    """Distance IoU loss, for the regression of boxes.

    `L = 1 − DIoU`, as `kdl.ops.box_diou` has it. It lies from 0 to 2, and draws
    the centers together, which takes fewer steps than GIoU.

    Boxes are `(x1, y1, x2, y2)`, decoded: of anchors, `kdl.ops.decode_boxes` gives them. Leave rows
    that are no object's out by a sample weight of 0; detectors divide the sum by their number.

    Shapes: labels and predictions `(batch, …, 4)`, values `(batch, …)`, float32.

    Args:
        reduction: As in Keras; `"sum_over_batch_size"` by default.
        name: Name of the loss.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If the last axis of labels or predictions is not 4, or their shapes differ.

    Source: Zheng et al., Distance-IoU Loss (arXiv 1911.08287), section 3.2.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0.0, 0, 2, 2], [0, 0, 2, 2]])
        >>> boxes = np.array([[0.0, 0, 2, 2], [1, 0, 3, 2]])
        >>> round(float(DIoULoss(reduction="sum")(truth, boxes)), 4)
        0.7436
    """

    elementwise = True
    compares = "boxes"  # which detectors decode for it

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "diou_loss",
        dtype: DType = None,
    ) -> None:
        super().__init__(diou_loss, locals())
