"""Checks of a model before it is saved: functions and weights that a file would lose."""

import builtins
import dis
import types

import keras
import numpy as np

from kdl._compat import all_layers, own_variables
from kdl.graph.copy_weights import as_array, assign, own_values


def check_saved_form(model):
    """Raises ValueError unless a file of a model can hold its functions and its weights.

    Args:
        model: A Keras model.

    Raises:
        ValueError: If a Lambda's function needs names of its script, or a layer saves other weights
            than it has; the message names the layer.
    """
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Lambda):
            _check_names(layer)
        elif not type(layer).__module__.startswith(("keras.", "kdl.")):
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
