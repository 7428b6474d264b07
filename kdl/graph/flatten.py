"""Flattening of a model to a graph of Keras's own layers."""

import keras

from kdl.graph.inline import inline
from kdl.graph.read_graph import read_graph
from kdl.graph.rebuild import rebuild


def flatten(model: keras.Model) -> keras.Model:
    """Turns a functional model into a flat functional graph of Keras's own layers.

    Composite layers and nested models are inlined, kdl's faster forms of a Keras layer become
    that layer, and layers that do nothing in inference (`ScheduledDropPath`) vanish. The new model
    has copies of the weights and gives equal outputs in inference; tools that know only Keras's
    layers can work on it. A layer's new name holds the names of what it was in: `conv1` of the
    block `stage1_block0` becomes `stage1_block0_conv1`.

    Args:
        model: A functional or Sequential model, built; of kdl, of `keras.applications` or your own.

    Returns:
        A `keras.Model`, not compiled. Layers of unknown classes are kept, as copies.

    Raises:
        ValueError: If the model is not functional.

    Example:
        >>> import kdl
        >>> model = kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=10)
        >>> flat = flatten(model)
        >>> flat.count_params() == model.count_params(), type(flat.layers[-1]).__name__
        (True, 'Dense')
    """
    return rebuild(inline(read_graph(model)))
