"""Removal of what a compression method put around a network."""

import keras

from kdl.graph.wrapper import ModelWrapper, is_wrapper


def strip(model: ModelWrapper) -> keras.Model:
    """Remove what a compression method put around a network, and keep what it has learned.

    Of `prune` it is the network with its zeros, of `distill` the student (stripped itself, if it is
    a pruned one), of `kdl.compression.tfmot` the Keras 3 model with the weights that TF-MOT left.
    The model itself is asked: any object with the methods `network()` and `stripped()` can be.

    What `quantize_aware` and `calibrate` give is a network already, whose quantization is in its
    layers.

    Args:
        model: A `PrunedModel`, a `Distillation` or a `tfmot.TFMOTModel`.

    Returns:
        A `keras.Model` of the class of the network, not compiled, with weights of its own.

    Raises:
        ValueError: If the model is a network itself.

    Example:
        >>> import keras
        >>> from kdl.compression import ConstantSparsity, prune
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> network = strip(prune(model, ConstantSparsity(0.5)))
        >>> type(network).__name__, int((network.get_weights()[0] == 0).sum())
        ('Sequential', 4)
    """
    if not is_wrapper(model):
        raise ValueError(
            f"strip takes a model that prune, distill or kdl.compression.tfmot made around a "
            f"network; received a {type(model).__name__}, which has nothing around it. Take it as "
            f"it is."
        )
    return model.stripped()
