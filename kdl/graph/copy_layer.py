"""Copy of a layer."""

import contextlib
import types
import warnings
from collections.abc import Callable, Collection
from typing import Any

import keras

from kdl._compat import all_layers, trusted_code
from kdl.graph._settings import functions_of, keep_functions, keep_policy
from kdl.graph.copy_weights import copy_assets

# Arguments of adapters (LoRA), for `drop` where they become part of the kernel.
ADAPTERS = ("lora_rank", "lora_alpha")


def copy_layer(
    layer: Any,
    kind: type | None = None,
    drop: Collection[str] = (),
    edit: Callable[[dict], dict] | None = None,
    **changes: Any,
) -> Any:
    """Makes a layer like another one, without its weights, from its config.

    What a config loses stays: the functions themselves (a Lambda's, an activation), classes and
    functions that are not registered with Keras, and name, dtype policy and `trainable` where the
    constructor does not take them.

    Args:
        layer: A layer, or an operation of `keras.ops`.
        kind: Class of the new layer. Defaults to that of `layer`.
        drop: Names of arguments that it does not take.
        edit: Function of the config, and what it becomes, or None.
        **changes: Arguments of the constructor that are to differ, such as `name`.

    Returns:
        The new layer, not called yet; `copy_weights` gives it the weights once it is built.

    Raises:
        ValueError: If the layer cannot be made from its config; the message names it.

    Example:
        >>> import keras
        >>> layer = keras.layers.Dense(2, activation=lambda x: x + 1, name="head")
        >>> copy = copy_layer(layer, units=3)
        >>> copy.units, copy.name, copy.activation is layer.activation
        (3, 'head', True)
    """
    settings = {**_common_settings(layer), **changes}
    with made_from_config(layer):
        config = {k: v for k, v in layer.get_config().items() if k not in drop}
        config.update((k, v) for k, v in changes.items() if k in config or k not in _COMMON)
        functions = _functions_in(layer, {*config} - {*changes})
        copy = _make(kind or type(layer), edit(config) if edit else config, functions)
    copy.name = settings["name"]
    if isinstance(layer, keras.layers.Layer):
        _apply(copy, edit(settings) if edit else settings)
    for old, new in _pairs(layer, copy):
        keep_functions(old, new, changes)
        copy_assets(old, new)  # the shape of what a layer gives may follow from its vocabulary
    return copy


def copy_operation(operation, name, edit=None):
    """A copy of an operation of `keras.ops`; itself, if it cannot be copied: it has no weights."""
    try:
        return copy_layer(operation, name=name, edit=edit)
    except ValueError:
        return operation


@contextlib.contextmanager
def made_from_config(layer):
    """Within it a config of `layer` can be read back: its classes and functions are here already.

    Raises:
        ValueError: If that fails all the same.
    """
    try:
        with (
            keras.saving.custom_object_scope(_known(layer)),
            trusted_code(),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message="The object being serialized includes a")
            yield
    except Exception as error:  # whatever the author of a layer raises
        cause = error
        while cause.__context__ is not None:  # what Keras wraps around it repeats whole configs
            cause = cause.__context__
        reason = " ".join(str(cause).split())[:300]
        raise ValueError(
            f"{layer.name} ({type(layer).__name__}) cannot be copied, as it cannot be made from "
            f"its config: {type(cause).__name__}: {reason} Give its class a get_config that "
            f"returns all arguments of the constructor, as plain values or in Keras's serialized "
            f"form."
        ) from error


def _functions_in(layer, keys):
    values = {key: getattr(layer, key, None) for key in keys}
    return {key: f for key, f in values.items() if isinstance(f, types.FunctionType)}


def _make(kind, config, functions):
    if functions:
        # Of a lambda Keras's configs hold the code, of which not every layer can be made.
        with contextlib.suppress(Exception):
            return kind.from_config({**config, **functions})
    return kind.from_config(config)


# What every layer has, and some constructors do not take.
_COMMON = ("name", "trainable", "dtype")


def _common_settings(layer):
    if not isinstance(layer, keras.layers.Layer):
        return {"name": layer.name}
    policy = keras.saving.serialize_keras_object(layer.dtype_policy)
    return {"name": layer.name, "trainable": layer.trainable, "dtype": policy}


def _apply(layer, settings):
    """Sets what the constructor did not take, or lost."""
    keep_policy(keras.dtype_policies.get(settings["dtype"]), layer)
    if layer.trainable != settings["trainable"]:
        layer.trainable = settings["trainable"]


def _pairs(layer, copy):
    """The layers inside of both, as far as they are there before a call."""
    if not isinstance(layer, keras.layers.Layer):
        return []
    ours, theirs = all_layers(layer), all_layers(copy)
    return zip(ours, theirs, strict=True) if len(ours) == len(theirs) else [(layer, copy)]


def _known(layer):
    """Dict: name → class or function, of all in a layer that is not Keras's own.

    Keras finds its own by itself. By name alone its layer Add would be taken for its operation Add.
    """
    known = {}
    for part in all_layers(layer) if isinstance(layer, keras.layers.Layer) else [layer]:
        objects = [part, *(x for x in vars(part).values() if hasattr(x, "get_config"))]
        for found in (*map(type, objects), *functions_of(part).values()):
            if not found.__module__.startswith("keras."):
                known[keras.saving.get_registered_name(found)] = found
    return known
