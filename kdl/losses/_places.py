"""What losses share that have a value, or a part in one, for each place of a sample."""

import keras
from keras import ops

from kdl._compat import mask_of


class LossOfPlaces(keras.losses.Loss):
    """Base of losses of predictions `(batch, …, K)`: what Keras's masks and weights do to them.

    Keras multiplies the values of a loss by the mask that the predictions carry. Where a value is
    of many places, of an image or a batch, what is masked has had its part in it by then. So such
    losses take it out themselves: a subclass implements `values(y_true, y_pred, mask)`, where
    `mask` is None or booleans, and sets `one_a_place` if it gives a value for each place, over
    which Keras then takes the mean.

    Weights of samples, `(batch,)`, are those of all their places, which Keras would lay along the
    places, or refuse.
    """

    one_a_place = False
    axis = -1  # of the classes

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The reduced loss; see `keras.losses.Loss`."""
        if self.one_a_place and sample_weight is not None:
            sample_weight = self._of_places(sample_weight, y_pred)
        mask = mask_of(y_pred)
        if mask is not None:
            # Keras takes any structure of tensors to `call`, which the mask reaches this way.
            y_true = (y_true, mask)
            y_pred = y_pred if self.one_a_place else ops.copy(y_pred)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        """The values, before they are weighted and reduced."""
        mask = None
        if isinstance(y_true, tuple):
            y_true, mask = y_true
            mask = ops.cast(mask, "bool")
        return self.values(y_true, y_pred, mask)

    def values(self, y_true, y_pred, mask):
        """The loss of what the mask leaves."""
        raise NotImplementedError

    def _of_places(self, weights, y_pred):
        """Weights of samples as those of their places; others as they are."""
        weights, rank = ops.convert_to_tensor(weights), len(y_pred.shape)
        if any(size != 1 for size in weights.shape[1:]) or rank < 3 or not len(weights.shape):
            return weights
        shape = list(ops.shape(y_pred))
        del shape[self.axis]
        return ops.broadcast_to(ops.reshape(weights, (-1, *[1] * (rank - 2))), shape)


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
