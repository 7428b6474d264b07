"""Checks of a model before it is saved: functions and weights that a file would lose."""

import builtins
import dis
import types

import keras
import numpy as np

from kdl._compat import all_layers, inner_layers, is_plain_functional, own_variables
from kdl.graph._settings import functions_of
from kdl.graph.copy_layer import made_from_config
from kdl.graph.copy_model import model_of_config
from kdl.graph.copy_weights import as_array, assign, own_values


def check_saved_form(model):
    """Raises ValueError unless a file of a model can hold its functions and its weights.

    Args:
        model: A Keras model.

    Raises:
        ValueError: If a Lambda's function needs names of its script, a lambda is an argument of
            another layer, or a layer saves other weights than it has; the message names the layer.
    """
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Lambda):
            _check_names(layer)
            continue
        _check_arguments(layer)
        if not type(layer).__module__.startswith(("keras.", "kdl.")):
            _check_weights(layer)


def _check_names(layer):
    """Raises ValueError if Keras, which saves the code of a lambda alone, could not run it."""
    function = layer.function
    if not isinstance(function, types.FunctionType) or function.__name__ != "<lambda>":
        return
    read = [x.argval for x in dis.get_instructions(function) if x.opname == "LOAD_GLOBAL"]
    names = sorted({*read} - {*vars(builtins)})
    if names:
        raise ValueError(
            f"The lambda of {layer.name} reads {', '.join(names)} of its script, which Keras does "
            f"not save with it, so that no other process can run the model. Use operations of "
            f"keras.ops in the graph, or a registered layer, in place of the Lambda."
        )


def _check_arguments(layer):
    """Raises ValueError if an argument is a lambda, as an activation: Keras reads none back."""
    lambdas = [key for key, f in functions_of(layer).items() if f.__name__ == "<lambda>"]
    if not lambdas:
        return
    with made_from_config(layer):
        told = layer.get_config()
    for key in lambdas:
        if key in told and not isinstance(told[key], str):  # a name is read back by its class
            raise ValueError(
                f"{key} of {layer.name} is a lambda, which no program can read back from a file. "
                f"Define the function with def, and register it by "
                f"keras.saving.register_keras_serializable. No file was written."
            )


def _check_weights(layer):
    """Raises ValueError if a layer's own way to save its weights does not give them back."""
    own = type(layer).save_own_variables is not keras.layers.Layer.save_own_variables
    if not own or getattr(layer, "lora_enabled", False):  # it saves the sum with its adapters
        return
    values, store = own_values(layer), {}
    try:
        layer.save_own_variables(store)
        layer.load_own_variables({key: as_array(x) for key, x in store.items()})
        found = own_values(layer)
    except Exception as error:  # whatever its author's code raises
        raise ValueError(lost_weights(layer)) from error
    finally:
        assign(own_variables(layer), values)
    if not all(map(_are_equal, values, found)):
        raise ValueError(lost_weights(layer))


def _are_equal(one, other):
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def lost_weights(layer):
    """The message of a ValueError about a layer that does not save the weights that it has.

    Args:
        layer: The layer.
    """
    return (
        f"The weights of {layer.name} ({type(layer).__name__}) come out of the file other than "
        f"they are: its `save_own_variables` writes something else. No file was written. Keep "
        f"these weights with `get_weights()`, or let the layer write what it has."
    )


def told_twice(model):
    """Layers with weights that the config of a model tells in several places, as a list.

    Each place would get a layer of its own from it. A functional model tells its layers, and so
    does each model and wrapper within it; a layer of another kind makes the parts of its parts, and
    shares among them what it likes.

    Args:
        model: A Keras model.
    """
    inside = {id(layer): {*map(id, all_layers(layer))} for layer in all_layers(model)}
    tellers = {id(x) for x in all_layers(model) if is_plain_functional(x) or _is_sequential(x)}
    makers = [x for x in all_layers(model) if id(x) not in tellers]
    holders = {}
    for holder in all_layers(model):
        for layer in inner_layers(holder):
            holders.setdefault(id(layer), (layer, []))[1].append(id(holder))
    return [
        layer
        for layer, ids in holders.values()
        if layer.variables
        and len(_telling(ids, inside, tellers)) > 1
        and not any(inside[id(x)].issuperset(ids) and _is_made_alike(x) for x in makers)
    ]


def _is_made_alike(layer):
    """Tell if a model's class makes, of its config, as many weights as the model has."""
    if not isinstance(layer, keras.Model):
        return False
    try:
        return len(model_of_config(layer, layer.name).variables) == len(layer.variables)
    except Exception:  # of whatever kind its author's code raises
        return False


def _telling(holders, inside, tellers):
    """Those of the holders of a layer that tell it, without those that make another of them."""
    return [
        one
        for one in holders
        if one in tellers or not any(other != one and other in inside[one] for other in holders)
    ]


def _is_sequential(layer):
    return type(layer) is keras.Sequential


def check_told_once(model):
    """Raises ValueError if a file of the model cannot be read, as a layer would come twice.

    Args:
        model: A Keras model.

    Raises:
        ValueError: If a layer with weights is told in several places; the message names it.
    """
    layers = told_twice(model)
    if layers:
        raise ValueError(
            f"{layers[0].name} of {model.name} is shared by a wrapper or a model within the model, "
            f"which Keras's files do not hold: each place would get a layer of its own, and only "
            f"one of them its weights. No file was written. Save kdl.compression.flatten(model), "
            f"which gives its outputs, or keep the weights by model.save_weights."
        )
