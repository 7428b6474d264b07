"""A model as a flat graph of Keras's own layers."""

from kdl.data.model_info import get_model_info, set_model_info
from kdl.graph import copy_layer, copy_model
from kdl.graph.copy_model import keep_state
from kdl.graph.inline import inline
from kdl.graph.read_graph import is_foreign


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

    # The same graph of new layers, each called once: `layer.output` is then a tensor of it.
    flat = copy_model(inline(model, copy), model.name, weights=False)
    for name, layer in origin.items():
        keep_state(layer, flat.get_layer(name))
    set_model_info(flat, get_model_info(model))
    return flat, origin


def _plain_copy(layer, name):
    # A subclass of your own may compute otherwise than the layer of kdl that it inherits from.
    plain = None if is_foreign(layer) else getattr(layer, "keras_class", None)
    if plain is None:
        return copy_layer(layer, name=name)
    # How kdl's form of it is carried out.
    return copy_layer(layer, plain, drop=("lowering", "axis_name"), name=name)
