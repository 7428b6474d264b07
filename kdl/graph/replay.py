"""Replay of a functional model's calls on new inputs."""

import keras

from kdl._compat import mark_dense, operation_of
from kdl.graph.read_graph import ends


def replay(model, inputs=None, make=None, call=None):
    """Goes through a functional model's calls in order, on new inputs.

    This is the only use of `keras.models.clone_model`, which gives a plain `Functional`, whatever
    the class of the model, and compiles it anew: with a loss that Keras cannot look up by its name
    it fails, and it makes the optimizer's variables a second time. So it sees a graph without a
    class and uncompiled.

    Args:
        model: A functional or Sequential model.
        inputs: New inputs, in the order of `model.inputs`; by default made like those.
        make: Called with each layer or operation; gives what is called in its place. Defaults to
            the layer or operation itself.
        call: Called as `call(operation, *args, **kwargs)`; gives the outputs. Defaults to a call of
            the operation.

    Returns:
        A `keras.Model`, not compiled.
    """
    own_inputs, outputs = ends(model)
    plain = keras.Model(own_inputs, outputs, name=model.name)
    new = [*map(fresh_input, model.inputs)] if inputs is None else keras.tree.flatten(inputs)
    inputs = keras.tree.pack_sequence_as(own_inputs, new)
    make, call = make or _same, call or _call

    def call_densely(operation, *args, **kwargs):
        outputs = call(operation, *args, **kwargs)
        if type(operation).__name__ == "Multiply" and not has_sparse((args, kwargs)):
            mark_dense(keras.tree.flatten(outputs))
        return outputs

    return keras.models.clone_model(plain, inputs, clone_function=make, call_function=call_densely)


def fresh_input(tensor):
    """A new input of a model, like this one."""
    layer = operation_of(tensor)
    return type(layer).from_config(layer.get_config()).output


def _same(operation):
    return operation


def _call(operation, *args, **kwargs):
    return operation(*args, **kwargs)


def has_sparse(structure):
    """Tell if a symbolic tensor in a structure is sparse."""
    return any(getattr(x, "sparse", False) for x in keras.tree.flatten(structure))
