"""The plain model out of a pruned one."""

from kdl.compression.pruning.pruned_model import PrunedModel
from kdl.graph import copy_model


def strip(model):
    """The plain model of a pruned one, with its zeros in place.

    Args:
        model: A `PrunedModel`.

    Returns:
        A `keras.Model` of the class that was pruned, not compiled, with weights of its own.

    Raises:
        ValueError: If the model is no `PrunedModel`.

    Example:
        >>> import keras
        >>> from kdl.compression import ConstantSparsity, prune
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> plain = strip(prune(model, ConstantSparsity(0.5)))
        >>> type(plain).__name__, int((plain.get_weights()[0] == 0).sum())
        ('Sequential', 4)
    """
    if not isinstance(model, PrunedModel):
        raise ValueError(
            f"strip takes the model that prune made; received a {type(model).__name__}."
        )
    model.apply_masks()
    return copy_model(model.model)
