"""State of a layer that is neither a weight nor in its config."""

import copy
import functools
import types

import keras
import numpy as np

from kdl.graph.copy_weights import as_array
from kdl.layers.normalization.convert_sync_batch_norm import is_synchronized_plain, synchronize

_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic)

# Attributes that tell in which state a layer is, not what it computes.
_STATE = ("name", "built", "training")


def keep_settings(old, new, edit=None):
    """Gives a built layer the class, dtype policy, functions and plain attributes of another one.

    Args:
        old: The layer that was copied.
        new: Its copy.
        edit: As in `copy_model`.

    Raises:
        ValueError: If the layers are of different classes.
    """
    if is_synchronized_plain(old, new):
        synchronize(new, old.axis_name)
    if type(old).__name__ != type(new).__name__:
        raise ValueError(
            f"The copy of {old.name} is a {type(new).__name__} and no {type(old).__name__}: was it "
            f"replaced in what holds it after that was made? Then its config does not tell of it."
        )
    if edit is None:
        keep_policy(old.dtype_policy, new)
    keep_functions(old, new)
    for key, value in vars(old).items():
        if not _is_setting(old, key) or not _is_plain(value):
            continue
        present = vars(new).get(key)
        if edit:  # to another precision
            if _tells_precision(value):
                continue
            value = _in_precision_of(present, edit({key: value})[key])
        if key not in vars(new) or not _is_equal(present, value):
            setattr(new, key, _plain_copy(value))


def _is_setting(layer, key):
    """Tell if an attribute of a layer tells what it computes, and not what Keras does with it.

    The authors of other classes than Keras's and kdl's keep such in private attributes, too.
    """
    is_foreign = not type(layer).__module__.startswith(("keras.", "kdl."))
    if isinstance(layer, keras.Model):
        return is_foreign and key not in _keras_attributes()
    if key.startswith("_"):
        return is_foreign and key not in _keras_attributes()
    return key not in _STATE


@functools.cache
def _keras_attributes():
    """Names of the attributes that Keras gives to every layer, and to every model."""
    inputs = keras.Input((1,), name="kdl_probe")
    models = keras.Model(name="kdl_probe"), keras.Model(inputs, inputs, name="kdl_probe")
    for model in models:
        model.compile()
    layer = keras.layers.Layer(name="kdl_probe")
    layer.build((None, 1))
    return {*_STATE, *vars(layer)}.union(*map(vars, models))


def keep_policy(policy, new):
    """Gives a layer a dtype policy; a built one that is to be quantized is quantized by that."""
    maps = keras.dtype_policies.DTypePolicyMap
    if not isinstance(policy, maps) and new.dtype_policy != policy:
        new.dtype_policy = policy


def keep_functions(old, new, changes=()):
    """Gives `new` the functions of `old` in place of those that were made of their code."""
    theirs = functions_of(new)
    for key, value in functions_of(old).items():
        if key in theirs and key not in changes:
            setattr(new, key, value)


def functions_of(layer):
    """Dict: attribute → function, without the layer's own methods, which Keras wraps."""
    return {
        key: value
        for key, value in vars(layer).items()
        if isinstance(value, types.FunctionType) and not hasattr(type(layer), key)
    }


def keep_trainable(old, new):
    """Freezes of a built layer what is frozen of another one, layers and single weights."""
    if new.trainable != old.trainable:
        new.trainable = old.trainable
    for ours, theirs in zip(old.weights, new.weights, strict=False):
        if theirs.trainable != ours.trainable:
            theirs.trainable = ours.trainable


def _is_plain(value):
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return isinstance(value, _PLAIN) or _is_readable(value)


def _is_readable(value):
    """Tell if a value is a tensor, no weight, and has values: a symbol of a compiled step has none.

    On TensorFlow Keras's variables count as tensors, on PyTorch its own parameters.
    """
    is_weight = hasattr(value, "assign") or getattr(value, "requires_grad", False)
    if is_weight or not keras.ops.is_tensor(value):
        return False
    try:
        as_array(value)
    except Exception:  # of whatever kind the backend raises
        return False
    return True


def _tells_precision(value):
    return isinstance(value, str) and ("float16" in value or value == "float64")


def _in_precision_of(present, value):
    """A tensor or array in the precision of what a copy has in its place.

    If that is the same but for its digits, it is the more precise one, made anew.
    """
    if not all(isinstance(x, np.ndarray) or _is_readable(x) for x in (present, value)):
        return value
    ours, theirs = np.asarray(as_array(value)), np.asarray(as_array(present))
    if ours.shape == theirs.shape and np.array_equal(theirs.astype(ours.dtype), ours):
        return present
    if isinstance(value, np.ndarray):
        return value
    return keras.ops.cast(value, keras.backend.standardize_dtype(present.dtype))


def _is_equal(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    for x in (one, other):
        if keras.ops.is_tensor(x) and not _is_readable(x):
            return False
    one, other = (as_array(x) if keras.ops.is_tensor(x) else x for x in (one, other))
    if isinstance(other, np.ndarray) or isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return one == other


def _plain_copy(value):
    """A copy of a plain value, without what Keras puts around lists to find layers in them."""
    if isinstance(value, dict):
        return {key: _plain_copy(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [*map(_plain_copy, value)]
        return remade(value, parts)
    return keras.ops.copy(value) if keras.ops.is_tensor(value) else copy.deepcopy(value)


def remade(sequence, parts):
    """A list, tuple or named tuple like another one, of other parts."""
    if hasattr(sequence, "_make"):
        return sequence._make(parts)
    return tuple(parts) if isinstance(sequence, tuple) else list(parts)
