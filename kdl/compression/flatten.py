"""A model as a flat graph of Keras's own layers."""

import keras

from kdl.compression._graph import deserialized
from kdl.layers._inline import inline


def flatten(model):
    """Turns a functional model into a flat functional graph of Keras's own layers.

    Composite layers and nested models are laid open, kdl's faster forms of a Keras layer become
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
    return flatten_with_origin(model)[0]


def flatten_with_origin(model):
    """Pair of `flatten(model)` and a dict: name of a layer in it → the layer of `model`."""
    origin = {}

    def copy(layer, name):
        twin = _plain_copy(layer, name)
        origin[twin.name] = layer
        return twin

    flat = _fresh(inline(model, copy), model.name)
    for name, layer in origin.items():
        if not isinstance(layer, keras.layers.InputLayer):
            fresh = flat.get_layer(name)
            fresh.set_weights(layer.get_weights())
            fresh.trainable = layer.trainable
    return flat, origin


def _fresh(model, name):
    """The same graph of new layers, each called once: `layer.output` is then a tensor of it."""
    graph = keras.Model(model.input, model.output, name=name)
    return deserialized(graph)


def _plain_copy(layer, name):
    config = {**layer.get_config(), "name": name}
    if isinstance(layer, keras.layers.Lambda):
        return type(layer).from_config(config, safe_mode=False)  # it is here already
    plain = getattr(layer, "keras_class", None)
    if plain is None:
        return type(layer).from_config(config)
    for name in ("lowering", "axis_name"):  # how kdl's form of it is carried out
        config.pop(name, None)
    return plain.from_config(config)
