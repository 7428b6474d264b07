"""Losses with a value, or a part in one, for each position of a sample, and Keras's masks."""

from typing import Any, NamedTuple

from keras import ops

from kdl._compat import mask_of
from kdl._typing import ArrayLike, Tensor
from kdl.losses._function_loss import FunctionLoss


class _Masked(NamedTuple):
    """Labels and the mask of the predictions: Keras takes any structure of tensors to `call`."""

    y_true: Any
    mask: Tensor


class MaskedLoss(FunctionLoss):
    """Base of losses of predictions `(batch, …, K)` that apply masks and sample weights.

    Keras multiplies the values of a loss by the mask that the predictions carry. Where a value is
    of many positions, of an image or a batch, the masked ones have had their part in it by then. So
    these losses hand the mask on: their function takes `mask`, None or booleans, unless its values
    are `elementwise`, one for each position, and Keras's product is enough.

    Weights of samples, `(batch,)`, are those of all their positions, which Keras would lay along
    the positions, or refuse. Weights of positions are for `elementwise` losses alone: the others
    have no value there that Keras could multiply.
    """

    elementwise = False
    axis = -1  # of the classes

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Tensor:
        """The reduced loss; see `keras.losses.Loss`."""
        if sample_weight is not None:
            weights = ops.convert_to_tensor(sample_weight)
            of_values = self._of_positions if self.elementwise else self._of_samples
            sample_weight = of_values(weights, y_pred)
        mask = mask_of(y_pred)
        if mask is not None:
            y_true = _Masked(y_true, mask)
            y_pred = y_pred if self.elementwise else ops.copy(y_pred)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The values, before they are weighted and reduced."""
        mask = None
        if isinstance(y_true, _Masked):
            y_true, mask = y_true.y_true, ops.cast(y_true.mask, "bool")
        arguments = self._arguments()
        if self._takes_mask:
            arguments["mask"] = mask
        return self._function(y_true, y_pred, **arguments)

    def _of_positions(self, weights, y_pred):
        """Weights of samples as those of their positions; others as they are."""
        rank = len(y_pred.shape)
        if any(size != 1 for size in weights.shape[1:]) or rank < 3 or not len(weights.shape):
            return weights
        shape = list(ops.shape(y_pred))
        del shape[self.axis]
        return ops.broadcast_to(ops.reshape(weights, (-1, *[1] * (rank - 2))), shape)

    def _of_samples(self, weights, y_pred):
        """Weights of samples, `(batch,)`; ValueError for those of positions."""
        if any(size not in (1, None) for size in weights.shape[1:]):
            raise ValueError(
                f"sample_weight of {type(self).__name__} must be (batch,), a weight for each "
                f"sample, as the loss has no value for each position; received "
                f"{tuple(weights.shape)} beside y_pred of {tuple(y_pred.shape)}. Leave positions "
                f"out by ignore_class."
            )
        return ops.reshape(weights, ops.shape(weights)[:1])


def spread_over(mask, tensor, axis):
    """A mask of the first axes, spread over the shape of a tensor with the classes at `axis`.

    Args:
        mask: Booleans `(batch, …)`.
        tensor: Tensor of a higher rank, or the same.
        axis: Axis that the mask does not have.
    """
    rank = len(tensor.shape)
    if axis % rank < len(mask.shape):
        mask = ops.expand_dims(mask, axis % rank)
    mask = ops.reshape(mask, (*ops.shape(mask), *[1] * (rank - len(mask.shape))))
    return ops.broadcast_to(mask, ops.shape(tensor))
