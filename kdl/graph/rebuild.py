"""Rebuilding of a model from a graph."""

import keras

from kdl._compat import all_layers, mark_dense, operation_of, operations_before, own_variables
from kdl._warn import warn
from kdl.data.model_info import set_model_info
from kdl.graph._settings import keep_trainable
from kdl.graph.copy_layer import copy_layer, copy_operation
from kdl.graph.copy_model import keep_state
from kdl.graph.copy_weights import copy_weights
from kdl.graph.kinds import keras_class_of, own_dtype
from kdl.graph.read_graph import names_in_list
from kdl.graph.replay import has_sparse
from kdl.graph.substitute import Renewed, Replacements

# Arguments of kdl's layers that tell how they are carried out.
FORM_ARGUMENTS = ("lowering", "axis_name")


def plain_copy(layer, name):
    """A copy of a layer, not built; of kdl's form of a layer of Keras it is that layer."""
    plain = keras_class_of(layer)
    if plain is type(layer):
        return copy_layer(layer, name=name)
    return copy_layer(layer, plain, drop=FORM_ARGUMENTS, name=name)


def rebuild(graph, copy=plain_copy, call=None, begin=None):
    """A model of a graph, with layers and weights of its own.

    Args:
        graph: `Graph`.
        copy: Called as `copy(layer, name)` once for each layer; gives the layer in its place, not
            built, which then gets weights and settings of the other one.
        call: Called as `call(node, operation, args, kwargs)` with the new operation and arguments;
            gives the outputs. Defaults to a call of the operation.
        begin: Called with each old input and the new one; gives what the calls see instead.

    Returns:
        A `keras.Model`, not compiled, with new inputs of the same names.
    """
    _warn_of_shared_parts(graph)
    copies, new = Replacements(), Renewed(graph.inputs)
    if begin is not None:
        ends = [*map(keras.tree.flatten, (graph.inputs, new.inputs))]
        new.add(ends[0], [*map(begin, *ends)])
    for node in graph.nodes:
        operation = copies(node.operation, lambda node=node: _copied(node, copy))
        args, kwargs = new(node.args), new(node.kwargs)
        outputs = (call or _call)(node, operation, args, kwargs)
        results = keras.tree.flatten(outputs)
        _mark_dense(node, (args, kwargs), results)
        new.add(node.results, results)
    inputs = {x.name for x in keras.tree.flatten(new.inputs)}
    outputs = _under_their_names(new(graph.outputs), graph.output_names, inputs)
    model = make_model(new.inputs, outputs, name=graph.name)
    for old, copy_of_it in copies.pairs():
        if isinstance(old, keras.layers.Layer):
            _keep(old, copy_of_it)
    set_model_info(model, graph.info)
    return model


def _warn_of_shared_parts(graph):
    """Warns of layers with weights that other layers hold, too: each gets a copy of its own."""
    operations = {id(node.operation): node.operation for node in graph.nodes}
    seen = {key: one for key, one in operations.items() if isinstance(one, keras.layers.Layer)}
    for holder in list(seen.values()):
        for part in all_layers(holder)[1:]:
            if own_variables(part) and seen.setdefault(id(part), holder) is not holder:
                warn(
                    f"{holder.name} and {seen[id(part)].name} share {part.name}, of which the new "
                    f"model has a copy for each: they are equal, and trained apart from now on."
                )


def _under_their_names(outputs, names, taken):
    """Outputs in a list, given by operations of these names.

    By them `compile` and files tell the outputs. A pass that ends in another operation (a layer's
    activation, a rounding, a layer of a nested model) leaves an output without; an `Identity` then
    has the name, unless an input has it that is given as an output.
    """
    if names is None:
        return outputs
    ends = zip(outputs, names_in_list(outputs), names, strict=True)
    return [x if y in {found, *taken} else _named(x, y) for x, found, y in ends]


def _named(x, name):
    return keras.layers.Identity(name=name, dtype=own_dtype(x))(x)


def make_model(inputs, outputs, name=None):
    """A `keras.Model`, whose operations get other names where two have one.

    Keras numbers the names that it gives from the start in each process, so that those of a model
    that was loaded come a second time. Those by which outputs are told stay.
    """
    ends = keras.tree.flatten(outputs)
    giving = {id(operation_of(x)) for x in ends}

    def is_less(operation):
        return id(operation) not in giving, not isinstance(operation, keras.layers.Layer)

    taken = {x.name for x in keras.tree.flatten(inputs)}
    for operation in sorted(operations_before(ends), key=is_less):
        if isinstance(operation, keras.layers.InputLayer):
            continue
        while operation.name in taken:
            operation.name += "_"
        taken.add(operation.name)
    return keras.Model(inputs, outputs, name=name)


def _copied(node, copy):
    if isinstance(node.operation, keras.layers.Layer):
        return copy(node.operation, node.name)
    return copy_operation(node.operation, node.name)


def _call(node, operation, args, kwargs):
    return operation(*args, **kwargs)


def _mark_dense(node, arguments, results):
    # A product by a number of what is dense, too, Keras marks as sparse.
    dense = [new for old, new in zip(node.results, results, strict=True) if not old.sparse]
    mark_dense(results if node.kind == "Multiply" and not has_sparse(arguments) else dense)


def _keep(old, new):
    """Gives a copy that is built now the state of the original."""
    if keras_class_of(old) is type(old):
        keep_state(old, new)
    else:  # of kdl's form of a layer the settings, too, tell how it is carried out
        copy_weights(old, new)
        keep_trainable(old, new)
