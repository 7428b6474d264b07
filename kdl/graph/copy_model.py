"""Copy of a model."""

import collections
from collections.abc import Callable

import keras

from kdl._compat import (
    all_layers,
    inner_layers,
    is_plain_functional,
    operation_of,
    own_variables,
    replace_inner_layer,
)
from kdl.data.model_info import get_model_info, set_model_info
from kdl.graph._settings import keep_settings, keep_trainable
from kdl.graph.copy_layer import copy_layer, copy_operation, made_from_config
from kdl.graph.copy_weights import copy_state, copy_weights, same_layers
from kdl.graph.replay import replay
from kdl.graph.wrapper import is_wrapper, strip_first


def copy_model(
    model: keras.Model,
    name: str | None = None,
    weights: bool = True,
    edit: Callable[[dict], dict] | None = None,
) -> keras.Model:
    """A model like another one, with layers and weights of its own, not compiled.

    Where `keras.models.clone_model` and `from_config` lose something, this does not: the class of
    the model, weights and what follows from them (the statistics of an adapted `Normalization`),
    which layers are frozen, layers that are shared, also by nested models, dtype policies and
    quantization, random seeds, classes and functions that are not registered with Keras, and plain
    values (numbers, text, arrays, tensors) that were set as attributes of a layer, also private
    ones of your own classes.

    Functional and Sequential models are copied layer by layer; models of other classes (those of
    `kdl.applications`, subclasses of `keras.Model`) are made from their config. Any other object
    that a layer holds and its config does not is lost.

    Args:
        model: A Keras model, built.
        name: Name of the copy. Defaults to that of the model.
        weights: Whether the copy gets the weights. If not they are drawn anew, and only what
            `adapt` has learned is copied. Defaults to True.
        edit: Function of each layer's config, and what it becomes, or None.

    Returns:
        The copy.

    Raises:
        ValueError: If a layer cannot be made anew from its config, or the copy has other weights;
            the message names the layer.

    Example:
        >>> import kdl
        >>> model = kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=10)
        >>> copy = copy_model(model, name="second")
        >>> type(copy).__name__, copy.name, sorted(copy.pyramid_outputs)
        ('ShuffleNetV2', 'second', ['P1', 'P2', 'P3', 'P4', 'P5'])
    """
    return _copied(Copies(edit), model, name, weights)


def portable_copy(model):
    """A copy that every backend reads from a file with the weights where they belong.

    Keras saves layers by their order in the graph, which it follows from the outputs. On PyTorch it
    goes through dictionaries within others in the order of their keys as they are, elsewhere sorted
    by them; and keys that are numbers it saves as text, which sorts otherwise. Layers of one shape
    then get each other's weights where they are loaded. The copy has keys of text, sorted.

    Args:
        model: As in `copy_model`.
    """
    return _copied(Copies(sort_keys=True), model)


def is_portable(model):
    """Tell if a file of the model itself is read by every backend, as one of its copy is."""
    graphs = [x for x in all_layers(model) if is_plain_functional(x)]
    return all(_keys(x.output) == _keys(_with_sorted_keys(x.output)) for x in graphs)


def _copied(copies, model, name=None, weights=True):
    if not isinstance(model, keras.Model):
        reason = strip_first(model) if is_wrapper(model) else f"received {model!r}."
        raise ValueError(f"Expected a Keras model. {reason}")
    copies.see_holders(model)
    copy = copies.of_model(model, name)
    copies.finish(weights)
    set_model_info(copy, get_model_info(model))
    return copy


def _with_sorted_keys(structure):
    if isinstance(structure, dict):
        return {str(key): _with_sorted_keys(structure[key]) for key in sorted(structure, key=str)}
    if isinstance(structure, list | tuple):
        parts = [_with_sorted_keys(part) for part in structure]
        return tuple(parts) if isinstance(structure, tuple) else parts
    return structure


def _with_keys_of(original, structure):
    """The reverse of `_with_sorted_keys`, for a structure that came out of it."""
    if isinstance(original, dict):
        return {key: _with_keys_of(part, structure[str(key)]) for key, part in original.items()}
    if isinstance(original, list | tuple):
        return [_with_keys_of(*parts) for parts in zip(original, structure, strict=True)]
    return structure


def _keys(structure):
    """The keys of a structure in their order, as lists in lists."""
    if isinstance(structure, dict):
        return [(key, _keys(part)) for key, part in structure.items()]
    if isinstance(structure, list | tuple):
        return [_keys(part) for part in structure]
    return None


def keep_state(layer, copy):
    """Gives a copy that is built now settings and weights of the original.

    Args:
        layer: The original.
        copy: What `copy_layer` made of it, of the same class or another one.

    Raises:
        ValueError: As `copy_model`.
    """
    if type(copy) is type(layer):
        _keep_all(same_layers(layer, copy))
    else:
        copy_weights(layer, copy)
        keep_trainable(layer, copy)


def _keep_all(pairs, weights=True, edit=None):
    for old, new in pairs:
        keep_settings(old, new, edit)
    # Freezing a layer freezes those in it: what holds others comes before them.
    for old, new in sorted(pairs, key=lambda pair: -len(all_layers(pair[0]))):
        keep_trainable(old, new)
    try:
        copy_state(pairs if weights else [pair for pair in pairs if hasattr(pair[0], "adapt")])
    except ValueError as error:
        raise ValueError(
            f"{error} Copies are made from configs: every get_config, also that of the model's "
            f"class, must return all arguments of its constructor."
        ) from error


def _parts(old, new):
    """Yields pairs of the layers in a layer and in a copy that is not built, as far as it has them.

    What a layer makes when it is built comes after what it is given.
    """
    for part, copy in zip(inner_layers(old), inner_layers(new), strict=False):
        if type(part) is not type(copy):
            return
        yield part, copy
        yield from _parts(part, copy)


class Copies:
    """Copies of layers and models: of each one, however often it is met.

    Args:
        edit: As in `copy_model`.
        sort_keys: Whether dictionaries that models give get keys of text, sorted.
    """

    def __init__(self, edit=None, sort_keys=False):
        self._edit = edit
        self._sort_keys = sort_keys
        self._made = {}  # id of an original → (original, copy)
        self._order = []  # ids, a model before its layers
        self._transparent = set()  # ids of models that are copied layer by layer
        self._structures = {}  # id of a copy with sorted keys → the outputs of its original
        self._holders = collections.defaultdict(set)  # id of a layer → ids of those that hold it

    def see_holders(self, model):
        """Sees which layers of a model hold which, to copy once what stands in several places."""
        for holder in all_layers(model):
            for layer in inner_layers(holder):
                self._holders[id(layer)].add(id(holder))

    def __call__(self, operation):
        """The copy of a layer or an operation."""
        if id(operation) in self._made:
            return self._made[id(operation)][1]
        if isinstance(operation, keras.Model):
            return self.of_model(operation)
        if not isinstance(operation, keras.layers.Layer):
            return self._keep(operation, copy_operation(operation, operation.name, self._edit))
        self._order.append(id(operation))
        copy = copy_layer(operation, edit=self._edit)
        self._share(operation, copy)
        return self._keep(operation, copy)

    def _share(self, operation, copy):
        """Puts copies of what stands outside of a layer, too, in its place within that one's copy.

        Of a model in it whose layers stand outside all is copied: its graph cannot be changed.
        """
        own = {*map(id, all_layers(operation))}
        done = set()
        for old, new in _parts(operation, copy):
            graph = all_layers(old) if isinstance(old, keras.Model) else [old]
            if id(old) in done or not any(self._holders[id(x)] - own for x in graph):
                continue
            done.update(map(id, all_layers(old)))
            made = self(old)
            for holder in all_layers(copy):
                if any(x is new for x in inner_layers(holder)):
                    replace_inner_layer(holder, new, made)

    def of_model(self, model, name=None):
        """The copy of a model."""
        self._order.append(id(model))
        name = name or model.name
        if type(model) is keras.Sequential and hasattr(model, "inputs"):
            self._transparent.add(id(model))
            layers = [self(operation_of(model.inputs[0])), *map(self, model.layers)]
            return self._keep(model, keras.Sequential(layers, name=name))
        if is_plain_functional(model):
            self._transparent.add(id(model))
            inputs = keras.tree.map_structure(lambda x: self(operation_of(x)).output, model.input)
            outputs = replay(model, inputs, make=self, call=self._call).output
            if self._sort_keys:
                outputs = _with_sorted_keys(outputs)
            made = type(model)(inputs, outputs, name=name)
            if self._sort_keys:
                self._structures[id(made)] = model.output
            return self._keep(model, made)
        if hasattr(model, "copy_with"):  # models around models, of which a config loses more
            return self._keep(model, model.copy_with(self, name))
        return self._keep(model, model_of_config(model, name, self._edit))

    def finish(self, weights=True):
        """Gives the copies, which are built now, settings and weights of their originals."""
        _keep_all(self._pairs(), weights, self._edit)

    def variables(self):
        """Dict: id of an original's weight → the copy's, of the copies that are built now."""
        return {
            id(ours): theirs
            for old, new in self._pairs()
            for ours, theirs in zip(own_variables(old), own_variables(new), strict=False)
        }

    def _pairs(self):
        return [pair for key in self._order if key in self._made for pair in self._inside(key)]

    def _inside(self, key):
        """Pairs of an original and its copy, and of the layers in them without an entry here."""
        old, new = self._made[key]
        if key in self._transparent:
            return [(old, new)]
        first, *inner = same_layers(old, new)
        made = {id(copy) for _, copy in self._made.values()}
        inner = [(layer, copy) for layer, copy in inner if id(copy) not in made]
        for layer, copy in inner:  # what its author left without a name, Keras has numbered anew
            copy.name = layer.name
        return [first, *inner]

    def _call(self, copy, *args, **kwargs):
        """Outputs of a copy under the keys of the original: calls go by their order."""
        outputs = copy(*args, **kwargs)
        return _with_keys_of(self._structures.get(id(copy)), outputs)

    def _keep(self, original, copy):
        self._made[id(original)] = original, copy
        return copy


def model_of_config(model, name, edit=None):
    """A model of a class of its own, made of its config, with new weights."""
    with made_from_config(model):
        config = {**model.get_config(), "name": name}
        copy = type(model).from_config(edit(config) if edit else config)
        if not copy.built:  # a subclass of Model, whose config says nothing of its input
            copy.build_from_config(model.get_build_config())
            copy.built = True
    return copy
