"""Mean intersection over union."""

import keras
from keras import ops

from kdl.ops.channels import channel_axis


@keras.saving.register_keras_serializable("kdl")
class MeanIoU(keras.metrics.Metric):
    """Mean over the classes of intersection over union, for segmentation.

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
        ValueError: If `num_classes` is not a positive integer, or `data_format` is unknown.

    Example:
        >>> metric = MeanIoU(2, ignore_class=255, sparse_y_pred=True)
        >>> metric.update_state([[0, 0, 1, 255]], [[0, 1, 1, 1]])
        >>> float(metric.result())  # one of two pixels in each class
        0.5
    """

    def __init__(
        self,
        num_classes,
        ignore_class=None,
        sparse_y_pred=False,
        data_format=None,
        name="mean_iou",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ValueError(f"num_classes must be a positive integer; received {num_classes!r}.")
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.sparse_y_pred = sparse_y_pred
        self.data_format = data_format or keras.config.image_data_format()
        self._axis = channel_axis(self.data_format)
        self._direction = "up"
        self.counts = self.add_variable(
            (num_classes, num_classes), "zeros", dtype="float32", name="counts"
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels of a batch.

        Args:
            y_true: Labels.
            y_pred: Scores or labels.
            sample_weight: Weight of each image or pixel, or None.
        """
        y_pred = ops.convert_to_tensor(y_pred)
        if not self.sparse_y_pred:
            y_pred = ops.argmax(y_pred, axis=self._axis)
        y_pred = ops.cast(y_pred, "int32")
        y_true = self._labels_like(y_pred, ops.convert_to_tensor(y_true))
        known = self._is_class(y_true) & self._is_class(y_pred)
        if self.ignore_class is not None:
            known = known & (y_true != self.ignore_class)
        cells = self.num_classes**2
        # What is left out goes to a cell of its own.
        cell = ops.where(known, y_true * self.num_classes + y_pred, cells)
        # In whole numbers, as float32 stops counting by ones at 2²⁴; segment_sum counts in float32.
        weights = ops.ones_like(cell) if sample_weight is None else _spread(sample_weight, cell)
        sums = ops.scatter_update(
            ops.zeros((cells + 1,), ops.dtype(weights)),
            ops.reshape(cell, (-1, 1)),
            ops.reshape(weights, (-1,)),
            reduction="add",
        )
        counts = ops.reshape(sums[:cells], (self.num_classes, self.num_classes))
        self.counts.assign_add(ops.cast(counts, "float32"))

    def result(self):
        """The mean over the classes."""
        counts = ops.convert_to_tensor(self.counts)
        common = ops.diagonal(counts)
        union = ops.sum(counts, 0) + ops.sum(counts, 1) - common
        there = ops.cast(union > 0, "float32")
        ious = common / ops.where(union > 0, union, 1.0)
        return ops.cast(ops.sum(ious) / ops.maximum(ops.sum(there), 1.0), self.dtype)

    def get_config(self):
        """The constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "sparse_y_pred": self.sparse_y_pred,
            "data_format": self.data_format,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _labels_like(self, y_pred, y_true):
        """Labels as whole numbers of the shape of the predicted ones."""
        if len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
            y_true = ops.squeeze(y_true, -1)
        pairs = zip(y_true.shape, y_pred.shape, strict=False)
        differ = any(a != b for a, b in pairs if None not in (a, b))
        if differ or len(y_true.shape) != len(y_pred.shape):
            raise ValueError(
                f"y_true must have one label for each pixel of y_pred, (batch, height, width); "
                f"received {tuple(y_true.shape)} beside {tuple(y_pred.shape)}, with "
                f"data_format={self.data_format!r}."
            )
        return ops.cast(y_true, "int32")

    def _is_class(self, labels):
        return (labels >= 0) & (labels < self.num_classes)


def _spread(sample_weight, cell):
    """Weights of images or pixels as those of all pixels."""
    weights = ops.cast(sample_weight, "float32")
    rank = len(cell.shape)
    if len(weights.shape) < rank:
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * (rank - len(weights.shape))))
    elif len(weights.shape) > rank:
        weights = ops.squeeze(weights, -1)
    return ops.broadcast_to(weights, ops.shape(cell))
