"""Remove TF-MOT's wrappers from a model."""

import keras

from kdl.compression.strip import strip as strip_any
from kdl.compression.tfmot.tfmot_model import TFMOTModel


def strip(wrapped: TFMOTModel) -> keras.Model:
    """The Keras 3 model with the weights that TensorFlow Model Optimization left.

    After `prune` they hold the zeros, after `cluster` the few values, after `quantize` they are the
    trained float weights, with batch norms as they are.

    Args:
        wrapped: `TFMOTModel` of `quantize`, `prune` or `cluster`.

    Returns:
        A `keras.Model` like the one that was wrapped, not compiled; a copy of its own.

    Example:
        >>> import keras
        >>> from kdl.compression import tfmot
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> tfmot.strip(tfmot.cluster(model)).count_params()
        10
    """
    return strip_any(wrapped)
