"""Mean intersection over union."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, DType, Tensor
from kdl.metrics._confusion import (
    common_and_union,
    confusion,
    is_class,
    labels_like,
    predicted_labels,
    spread,
    whole_numbers,
)
from kdl.ops._concrete import marked
from kdl.ops.channels import channel_axis


@keras.saving.register_keras_serializable("kdl")
class MeanIoU(keras.metrics.Metric):
    """Mean intersection over union (mIoU) of the classes, for segmentation.

    `IoU_c = n_cc / (Σ_i n_ci + Σ_i n_ic − n_cc)`, where `n_ij` counts the pixels of class `i` that
    were taken for class `j`, over all batches; the mean leaves out classes that are neither there
    nor predicted, and is 0 if there are none.

    `keras.metrics.MeanIoU` gives the same number, but visits the pixels one by one in Python on
    PyTorch, some hundred times slower than this.

    Shapes: labels `(batch, …)`, predictions `(batch, …, num_classes)`, with the classes at axis 1
    for `data_format="channels_first"`; or predicted labels of the shape of the labels.

    Args:
        num_classes: Number of classes. Labels outside `0 … num_classes − 1` are left out.
        ignore_class: Label that is left out too, such as that of unknown pixels; None (default) for
            no other.
        sparse_y_pred: Whether predictions are labels already. Defaults to False: they are scores,
            of which the largest counts.
        data_format: `"channels_last"` or `"channels_first"`, of scores; Keras's image data format
            by default.
        name: Name of the metric.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If `num_classes` is not a positive integer, `data_format` is unknown, shapes do
            not fit, or labels are no whole numbers; in compiled steps the metric is then NaN.

    Example:
        >>> metric = MeanIoU(2, ignore_class=255, sparse_y_pred=True)
        >>> metric.update_state([[0, 0, 1, 255]], [[0, 1, 1, 1]])
        >>> float(metric.result())  # one of two pixels in each class
        0.5
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        data_format: str | None = None,
        name: str | None = "mean_iou",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        num_classes = check_integer("num_classes", num_classes)
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.sparse_y_pred = sparse_y_pred
        self.data_format = data_format or keras.config.image_data_format()
        self._axis = channel_axis(self.data_format)
        self._direction = "up"
        self.counts = self.add_variable(
            (num_classes, num_classes), "zeros", dtype="float32", name="counts"
        )

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count the pixels of a batch.

        Args:
            y_true: Labels.
            y_pred: Scores or labels.
            sample_weight: Weight of each image or pixel, or None.
        """
        y_pred = ops.convert_to_tensor(y_pred)
        if self.sparse_y_pred:
            y_pred, wrong_pred = whole_numbers(y_pred)
        else:
            y_pred, wrong_pred = predicted_labels(y_pred, self._axis, self.num_classes)
        y_true, wrong = labels_like(ops.convert_to_tensor(y_true), y_pred, self.data_format)
        valid = is_class(y_true, self.num_classes, self.ignore_class)
        valid = valid & is_class(y_pred, self.num_classes, None)
        weights = None if sample_weight is None else spread(sample_weight, y_true)
        counts = confusion(y_true, y_pred, valid, self.num_classes, weights)
        self.counts.assign_add(marked(ops.cast(counts[0], "float32"), wrong, wrong_pred))

    def result(self) -> Tensor:
        """The mean over the classes."""
        common, union = common_and_union(ops.convert_to_tensor(self.counts))
        present = ops.cast(union > 0, "float32")
        ious = common / ops.where(union > 0, union, 1.0)
        return ops.cast(ops.sum(ious) / ops.maximum(ops.sum(present), 1.0), self.dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "sparse_y_pred": self.sparse_y_pred,
            "data_format": self.data_format,
            "name": self.name,
            "dtype": self.dtype,
        }
