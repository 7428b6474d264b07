"""Jaccard index."""

import math
from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, DType, Tensor
from kdl.metrics._confusion import (
    common_and_union,
    confusion,
    has_nan,
    is_class,
    labels_like,
    predicted_labels,
    spread,
    whole_numbers,
)
from kdl.ops._concrete import marked, raise_if
from kdl.ops._shapes import shapes_match
from kdl.ops.channels import channel_axis


@keras.saving.register_keras_serializable("kdl")
class JaccardIndex(keras.metrics.Metric):
    """Jaccard index (intersection over union), `J(A, B) = |A ∩ B| / |A ∪ B|`.

    `A` are the pixels of a class, `B` those that were taken for it: over all batches, or with
    `per_image` in each image, with the mean over the images. The result is the mean over the
    classes, and with `per_class` also the index of each.

    One class means that labels are 0 and 1, and 1 counts. With more, either each pixel is of one
    class, whose score is the largest, or with `multi_label` each class is found for itself.

    Shapes: for one class labels and scores `(batch, …)`, each with or without an axis of one class;
    for several, labels `(batch, …)` and scores `(batch, …, num_classes)`, with the classes at axis
    1 for `data_format="channels_first"`; with `multi_label` labels have the shape of the scores.

    Args:
        num_classes: Number of classes. Labels that are none of them are left out.
        multi_label: Whether a pixel may be of several classes. Defaults to False.
        threshold: Scores from here on mean yes, with one class or `multi_label`. Defaults to 0.5;
            0 for logits.
        per_image: Whether to take the mean of the indices of images. Defaults to False.
        per_class: Whether the result is a dict: the mean under the name of the metric, and class
            `c` under `name_c`. Defaults to False.
        empty: Index where a class is neither there nor predicted, such as 1, which is the
            convention for sets. None (default) leaves it out of the mean, as
            `keras.metrics.MeanIoU` does; `name_c` is then not a number.
        ignore_class: Label that is left out; None (default) for no other.
        sparse_y_pred: Whether predictions are labels already, not scores. Defaults to False.
        data_format: `"channels_last"` or `"channels_first"`, of scores; Keras's image data format
            by default.
        name: Name of the metric.
        dtype: Dtype of the result; float32 by default.

    Raises:
        ValueError: If `num_classes` is not a positive integer, `empty` is outside 0 … 1,
            `data_format` is unknown, or shapes do not fit; if labels are no whole numbers, or masks
            of one class or `multi_label` hold other than 0, 1 and `ignore_class`. In compiled
            steps, which raise no error, what is wrong in values makes the metric NaN.

    Source: Jaccard, The distribution of the flora in the alpine zone, 1912.

    Example:
        >>> metric = JaccardIndex(1)
        >>> metric.update_state([[1, 1, 1, 0, 0]], [[0.1, 0.8, 0.7, 0.9, 0.6]])
        >>> round(float(metric.result()), 4)  # {0, 1, 2} and {1, 2, 3, 4}
        0.4
    """

    def __init__(
        self,
        num_classes: int,
        multi_label: bool = False,
        threshold: float = 0.5,
        per_image: bool = False,
        per_class: bool = False,
        empty: float | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        data_format: str | None = None,
        name: str | None = "jaccard_index",
        dtype: DType = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        num_classes = check_integer("num_classes", num_classes)
        if empty is not None and not 0 <= empty <= 1:
            raise ValueError(f"empty must lie in 0 … 1 or be None; received {empty!r}.")
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.threshold = threshold
        self.per_image = per_image
        self.per_class = per_class
        self.empty = empty
        self.ignore_class = ignore_class
        self.sparse_y_pred = sparse_y_pred
        self.data_format = data_format or keras.config.image_data_format()
        self._axis = channel_axis(self.data_format)
        self._direction = "up"
        # Each class, and for images their mean over the classes.
        shape = (num_classes + 1 if per_image else num_classes,)
        self.numerators = self.add_variable(shape, "zeros", dtype="float32", name="numerators")
        self.denominators = self.add_variable(shape, "zeros", dtype="float32", name="denominators")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count the pixels of a batch.

        Args:
            y_true: Labels.
            y_pred: Scores or labels.
            sample_weight: Weight of each image, or (unless `per_image`) of each pixel; or None.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        weights = None if sample_weight is None else ops.cast(sample_weight, "float32")
        if self.per_image:
            common, union = self._count(y_true, y_pred, None)
            self._add_images(common, union, self._of_images(weights))
            return
        common, union = self._count(y_true, y_pred, weights)
        self.numerators.assign_add(ops.sum(common, 0))
        self.denominators.assign_add(ops.sum(union, 0))

    def result(self) -> Tensor | dict[str, Tensor]:
        """The mean over the classes, or a dict with the index of each as well."""
        numerators, denominators = map(ops.convert_to_tensor, (self.numerators, self.denominators))
        values, counted = self._indices(numerators, denominators)
        values, counted = values[: self.num_classes], counted[: self.num_classes]
        if self.per_image:
            mean = numerators[-1] / _at_least_something(denominators[-1])
        else:
            mean = _mean(values, counted)
        mean = ops.cast(mean, self.dtype)
        if not self.per_class:
            return mean
        values = ops.cast(ops.where(counted > 0, values, float("nan")), self.dtype)
        return {self.name: mean} | {f"{self.name}_{c}": values[c] for c in range(self.num_classes)}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "multi_label": self.multi_label,
            "threshold": self.threshold,
            "per_image": self.per_image,
            "per_class": self.per_class,
            "empty": self.empty,
            "ignore_class": self.ignore_class,
            "sparse_y_pred": self.sparse_y_pred,
            "data_format": self.data_format,
            "name": self.name,
            "dtype": self.dtype,
        }

    def _count(self, y_true, y_pred, weights):
        """Pixels in both and in either: float32 `(images, classes)`, or one row for the batch."""
        if self.num_classes > 1 and not self.multi_label:
            return self._count_labels(y_true, y_pred, weights)
        return self._count_maps(y_true, y_pred, weights)

    def _count_labels(self, y_true, y_pred, weights):
        if self.sparse_y_pred:
            y_pred, wrong_pred = whole_numbers(y_pred)
        else:
            y_pred, wrong_pred = predicted_labels(y_pred, self._axis, self.num_classes)
        y_true, wrong = labels_like(y_true, y_pred, self.data_format)
        valid = is_class(y_true, self.num_classes, self.ignore_class)
        valid = valid & is_class(y_pred, self.num_classes, None)
        weights = None if weights is None else spread(weights, y_true)
        groups, images = None, 1
        if self.per_image:
            images = ops.shape(y_true)[0]
            shape = (-1, *[1] * (len(y_true.shape) - 1))
            groups = ops.reshape(ops.arange(images, dtype="int32"), shape)
        counts = confusion(y_true, y_pred, valid, self.num_classes, weights, groups, images)
        parts = (ops.cast(part, "float32") for part in common_and_union(counts))
        return (marked(part, wrong, wrong_pred) for part in parts)

    def _count_maps(self, y_true, y_pred, weights):
        self._check_maps(y_true, y_pred)
        y_true, wrong = whole_numbers(self._pixels(y_true))
        y_pred = self._pixels(y_pred)
        predicted = y_pred == 1 if self.sparse_y_pred else y_pred >= self.threshold
        valid = is_class(y_true, 2, self.ignore_class)
        allowed = valid if self.ignore_class is None else valid | (y_true == self.ignore_class)
        no_mask = raise_if(
            ops.logical_not(ops.all(allowed)),
            f"Masks in y_true must hold 0 and 1, or ignore_class={self.ignore_class}; other "
            f"values came. Divide masks of 0 and 255 by 255.",
        )
        true, broken = y_true == 1, has_nan(y_pred)

        if weights is not None:
            images, *others = ops.shape(weights)
            weights = ops.reshape(weights, (images, math.prod(others), 1))

        def total(pixels):
            pixels = ops.cast(pixels & valid, "int32" if weights is None else "float32")
            if weights is not None:
                pixels = pixels * weights
            return marked(ops.cast(ops.sum(pixels, axis=1), "float32"), wrong, no_mask, broken)

        return total(predicted & true), total(predicted | true)

    def _pixels(self, maps):
        """Maps as `(images, pixels, classes)`."""
        if self.multi_label and self._axis == 1:
            maps = ops.moveaxis(maps, 1, -1)
        classes = self.num_classes if self.multi_label else 1
        images, *others = ops.shape(maps)
        # Written out: of an empty batch no size can be inferred.
        return ops.reshape(maps, (images, math.prod(others) // classes, classes))

    def _check_maps(self, y_true, y_pred):
        shapes = tuple(y_true.shape), tuple(y_pred.shape)
        if self.multi_label:
            fits = shapes_match(*shapes) and shapes[1][self._axis] == self.num_classes
        else:  # with or without an axis of one class
            fits = shapes_match(
                *([shape[0], *(n for n in shape[1:] if n != 1)] for shape in shapes)
            )
        if not fits:
            raise ValueError(
                f"y_true and y_pred must have the same pixels, and with multi_label the "
                f"{self.num_classes} classes; received {shapes[0]} beside {shapes[1]}, with "
                f"data_format={self.data_format!r}."
            )

    def _add_images(self, common, union, weights):
        values, counted = self._indices(common, union)
        of_image = _mean(values, counted)
        any_counted = ops.cast(ops.any(counted > 0, -1), "float32")
        values = ops.concatenate([values, of_image[:, None]], -1)
        counted = ops.concatenate([counted, any_counted[:, None]], -1)
        if weights is not None:
            counted = counted * weights
        self.numerators.assign_add(ops.sum(values * counted, 0))
        self.denominators.assign_add(ops.sum(counted, 0))

    def _of_images(self, weights):
        if weights is None:
            return None
        if any(n != 1 for n in weights.shape[1:]):
            raise ValueError(
                f"sample_weight must have one weight for each image with per_image=True, (batch,); "
                f"received {tuple(weights.shape)}."
            )
        return ops.reshape(weights, (-1, 1))

    def _indices(self, common, union):
        """Index of each class, and 1 where it counts, else 0."""
        present = union != 0  # also what is not a number, which shows
        values = ops.where(present, common / _at_least_something(union), self.empty or 0.0)
        return values, ops.cast(present, "float32") if self.empty is None else ops.ones_like(values)


def _mean(values, counted):
    return ops.sum(values * counted, -1) / ops.maximum(ops.sum(counted, -1), 1.0)


def _at_least_something(denominator):
    return ops.where(denominator > 0, denominator, 1.0)
