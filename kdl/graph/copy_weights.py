"""Copy of all state of a layer or model to another one."""

import os
import tempfile

import keras
import numpy as np

from kdl._compat import all_layers, inner_layers, own_seeds, own_variables


def copy_weights(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Gives `target` all state of `source`: weights, what was adapted, and random seeds.

    Beside the weights some layers have state that follows from them (`Normalization` its mean and
    variance), or none that is a weight (`StringLookup` its vocabulary). It goes through the methods
    by which Keras saves and loads layers, so that every layer gets what a file would give it; where
    these compute (an embedding of positions that is resized), the weights are given as they are.

    Args:
        source: A layer or a model, built.
        target: One of the same layers, built. It is left as it was if it does not fit.

    Raises:
        ValueError: If they do not fit each other; the message names the first layer that differs.

    Example:
        >>> import keras, numpy as np
        >>> norm = keras.layers.Normalization()
        >>> norm.adapt(np.float32([[1], [3]]))
        >>> copy = keras.layers.Normalization()
        >>> copy.build((None, 1))
        >>> copy_weights(norm, copy)
        >>> float(copy(np.float32([[5]]))[0, 0])
        3.0
    """
    copy_state(same_layers(source, target))


def copy_state(pairs):
    """Gives each second layer of `pairs` what is the first's own: what sub-layers hold is not."""
    kept = [own_values(old) for old, _ in pairs]
    stores = [_store(old, new) for old, new in pairs]
    for (old, new), values, store in zip(pairs, kept, stores, strict=True):
        _load(old, new, values, store)
        # A layer that draws nothing, such as a Dropout of rate 0, has no seed.
        for ours, theirs in zip(own_seeds(old), own_seeds(new), strict=False):
            theirs.assign(keras.ops.convert_to_numpy(ours))


def set_weights(layer, weights):
    """Gives a layer these arrays, and what follows from them."""
    layer.set_weights(weights)
    _finalize(layer)


def stored_weights(layer):
    """State that a layer holds of its own, as arrays, with its adapters (LoRA) in its kernel."""
    store = {}
    layer.save_own_variables(store)
    return [as_array(x) for x in store.values()]


def as_array(x):
    """The values of a variable or tensor, as an array of their own."""
    # JAX may hand the memory of a trained variable on.
    return np.array(keras.ops.convert_to_numpy(x))


def own_values(layer):
    """The variables of a layer, without those of the layers in it, as arrays."""
    return [as_array(x) for x in own_variables(layer)]


def same_layers(source, target):
    """List of pairs: each layer in `source`, however deep, and its counterpart in `target`.

    Raises:
        ValueError: If there is none.
    """
    ours, theirs = all_layers(source), all_layers(target)
    if len(ours) == len(theirs):
        return list(zip(ours, theirs, strict=True))
    pairs = {}
    if _pair(source, target, pairs):
        return list(pairs.values())
    names = {layer.name for layer in theirs}
    first = next((layer.name for layer in ours[1:] if layer.name not in names), source.name)
    raise ValueError(
        f"{target.name} has {len(theirs)} layers where {source.name} has {len(ours)}; the first "
        f"without a counterpart is {first}. Were layers added or replaced after it was made?"
    )


def _pair(old, new, pairs):
    """Fills `pairs` with layers in the same places; whether all have a counterpart.

    A layer without weights that is told by two configs is made twice: it has two counterparts.
    """
    if (id(old), id(new)) in pairs:
        return True
    again = any(old is one or new is other for one, other in pairs.values())
    if again and (own_variables(old) or own_variables(new)):
        return False
    pairs[id(old), id(new)] = old, new
    ours, theirs = inner_layers(old), inner_layers(new)
    return len(ours) == len(theirs) and all(map(_pair, ours, theirs, [pairs] * len(ours)))


def _store(old, new):
    """State that `old` would write to a file, as arrays that `new` can take."""
    store, expected = {}, {}
    old.save_own_variables(store)
    new.save_own_variables(expected)
    shapes = [[tuple(np.shape(x)) for x in each.values()] for each in (store, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"The weights of {old.name} ({type(old).__name__}) do not fit {new.name} "
            f"({type(new).__name__}): expected shapes {shapes[1]}, received {shapes[0]}."
        )
    return {key: as_array(x) for key, x in store.items()}


def _load(old, new, values, store):
    new.load_own_variables(store)
    copy_assets(old, new)
    assign(own_variables(new), values)
    if type(old).save_own_variables is not keras.layers.Layer.save_own_variables:
        assign(own_variables(old), values)  # the writing may have changed it
    # Keras's layers do it when they load.
    if type(new).load_own_variables is keras.layers.Layer.load_own_variables:
        _finalize(new)


def assign(variables, values):
    """Gives variables these values, if they have the same shapes: a copy has another class."""
    if [tuple(x.shape) for x in variables] == [x.shape for x in values]:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def copy_assets(old, new):
    """Gives a layer what another one would write to files of its own: a vocabulary."""
    if hasattr(old, "save_assets") and hasattr(new, "load_assets"):
        with tempfile.TemporaryDirectory(prefix="kdl-assets-") as folder:
            old.save_assets(os.path.join(folder, ""))
            new.load_assets(os.path.join(folder, ""))


def _finalize(layer):
    # It follows from weights. A `Discretization` that was loaded has its bins from its config.
    if layer.weights and hasattr(layer, "finalize_state"):
        layer.finalize_state()
