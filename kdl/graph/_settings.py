"""State of a layer that is neither a weight nor in its config."""

import copy
import types

import keras
import numpy as np

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
    if isinstance(old, keras.Model):
        return  # its attributes tell how it is compiled and trained
    for key, value in vars(old).items():
        if key.startswith("_") or key in _STATE or not _is_plain(value):
            continue
        value = edit({key: value})[key] if edit else value
        if key not in vars(new) or not _is_equal(vars(new)[key], value):
            setattr(new, key, _plain_copy(value))


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
    return isinstance(value, _PLAIN)


def _is_equal(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    if isinstance(other, np.ndarray) or isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return one == other


def _plain_copy(value):
    """A copy of a plain value, without what Keras puts around lists to find layers in them."""
    if isinstance(value, dict):
        return {key: _plain_copy(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return (tuple if isinstance(value, tuple) else list)(map(_plain_copy, value))
    return copy.deepcopy(value)
