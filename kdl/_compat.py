"""Private names and patches of other libraries that kdl needs, each with its reason."""

import contextlib
import functools
import inspect


def has_forward_hooks(layer):
    """Tell if someone listens to the calls of a layer on PyTorch.

    PyTorch has `register_forward_hook`, but no public way to ask whether a module has one. kdl's
    blocks must know it, since they leave out the calls of their layers where nobody listens.
    """
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def all_layers(layer):
    """A layer or model, and all layers in it, however deep.

    `model.layers` has the outermost alone, and nothing public leads into composite layers.
    """
    return list(layer._flatten_layers())


def inner_layers(layer):
    """The layers that a layer or model itself holds, in the order in which it got them.

    `model.layers` has those of its graph alone, and nothing public tells what other layers hold.
    """
    return list(layer._flatten_layers(include_self=False, recursive=False))


def excludes_from_weight_decay(optimizer):
    """Tell if variables of an optimizer of Keras have no weight decay.

    `exclude_from_weight_decay` leaves no trace in the config, and nothing public tells.
    """
    names = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    return any(getattr(optimizer, name, None) for name in names)


def loss_arguments(loss):
    """Arguments that one of Keras's losses hands to its function.

    The config of `SparseCategoricalCrossentropy` does not tell its axis, nor does anything public.
    """
    return dict(loss._fn_kwargs)


def replace_inner_layer(holder, old, new):
    """Puts another layer in the place of one that a layer holds, in an attribute or a list of one.

    A layer that is set only joins those that the holder has, and nothing public takes one out. On
    PyTorch, attributes that are layers stand among those of `torch.nn.Module`.
    """
    holder._tracker.replace_tracked_value("layers", old, new)
    attributes = vars(holder)
    for name, value in {**attributes, **attributes.get("_modules", {})}.items():
        if value is old:
            setattr(holder, name, new)
        elif isinstance(value, list):
            value[:] = [new if x is old else x for x in value]
        elif isinstance(value, tuple) and any(x is old for x in value):
            setattr(holder, name, tuple(new if x is old else x for x in value))
        elif isinstance(value, dict):
            value.update({key: new for key, x in value.items() if x is old})


def rename_tensorflow_variable(variable, name):
    """Gives a variable of TensorFlow another name, under which it is saved.

    A variable has the name that it was made with. One with blanks or accents in it cannot be saved,
    and nothing public makes a variable that shares another one's values.
    """
    variable._handle_name = f"{name}:0"


@contextlib.contextmanager
def argmax_of_tensorflow():
    """Within it `argmax` and `argmin` of Keras on TensorFlow are TensorFlow's own.

    Keras replaces −0 beforehand, by arithmetic on bits that TFLite does not have. Nothing public
    chooses another form. −0 and 0 are equal in TFLite's kernels.
    """
    import tensorflow as tf
    from keras.src.backend.tensorflow import numpy

    def plain(choose):
        def apply(x, axis=None, keepdims=False):
            x = numpy.convert_to_tensor(x)
            flat = x if axis is not None else tf.reshape(x, [-1])
            chosen = choose(flat, axis=axis or 0, output_type="int32")
            if not keepdims:
                return chosen
            if axis is None:
                return tf.reshape(chosen, [1] * x.ndim)
            return tf.expand_dims(chosen, axis)

        return apply

    before = {name: getattr(numpy, name) for name in ("argmax", "argmin")}
    numpy.argmax, numpy.argmin = plain(tf.argmax), plain(tf.argmin)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(numpy, name, function)


@contextlib.contextmanager
def biases_of_their_axis():
    """Within it `add` of Keras on TensorFlow adds a bias along the axis that its shape tells.

    Keras takes it for one of the last axis wherever that is as long: of images with channels first
    that are as wide as they have channels, it adds the bias to the columns. Nothing public chooses
    another form; with the operands swapped Keras does not look for a bias.
    """
    from keras.src.backend.tensorflow import numpy

    before = numpy.add

    def add(x1, x2):
        shape = getattr(x2, "shape", ())
        inner = len(shape) > 1 and shape[-1] == 1
        return before(x2, x1) if inner else before(x1, x2)

    numpy.add = add
    try:
        yield
    finally:
        numpy.add = before


@contextlib.contextmanager
def shapes_in_tuples():
    """Within it Keras builds the layers that it reads from a file of shapes in tuples.

    A file has lists, to which a layer that was built of tuples cannot add one. Nothing public comes
    between.
    """
    import keras

    before = keras.layers.Layer.build_from_config

    def tuples(config):
        if isinstance(config, dict):
            return {key: tuples(value) for key, value in config.items()}
        if not isinstance(config, list):
            return config
        is_shape = all(size is None or isinstance(size, int) for size in config)
        return tuple(config) if is_shape else [tuples(value) for value in config]

    keras.layers.Layer.build_from_config = lambda layer, config: before(layer, tuples(config))
    try:
        yield
    finally:
        keras.layers.Layer.build_from_config = before


@contextlib.contextmanager
def seeds_that_stay():
    """Within it random generators give the state that they have, and do not step it.

    Some of Keras's augmentation layers draw in inference, too, and use nothing of it. What steps a
    state would stay in a traced function all the same. Nothing public keeps a generator still.
    """
    import keras

    step = keras.random.SeedGenerator.next
    keras.random.SeedGenerator.next = lambda generator, ordered=True: generator.state.value
    try:
        yield
    finally:
        keras.random.SeedGenerator.next = step


def mask_of(tensor):
    """The mask that Keras's layers attached to a tensor, or None.

    Nothing public gives it outside of a layer's call.
    """
    from keras.src import backend

    return backend.get_keras_mask(tensor)


def inputs_of(tensor):
    """The symbolic tensors that the operation took which gave a symbolic tensor.

    An operation that was applied more than once has no single `input`, and nothing public tells
    which of its applications gave a tensor.
    """
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index].input_tensors


def call_of(tensor):
    """The call that gave a symbolic tensor; None for an input.

    Nothing public tells with which arguments an operation was called, and going through a model by
    calling its operations once more takes as long as it took to make it.

    Returns:
        Tuple `(operation, args, kwargs, outputs)`, the outputs as a list; or None. The first
        argument stands in `args`, also where it was passed by its name.
    """
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    operation = history.operation
    node = operation._inbound_nodes[history.node_index]
    if node.is_input:
        return None
    args, kwargs = node.arguments.args, dict(node.arguments.kwargs)
    if not args:
        first = next(iter(inspect.signature(operation.call).parameters.values()), None)
        if first is not None and first.kind is not first.KEYWORD_ONLY and first.name in kwargs:
            args = (kwargs.pop(first.name),)
    return operation, args, kwargs, node.outputs


def structure_of_sequential(model):
    """Inputs and outputs of a Sequential model, in the structure of its first and last layer.

    Its own `input` and `output` are those of a call of it, if there was one, and `outputs` is flat.
    """
    graph = model._functional
    if graph is None:  # not built: Keras's own words
        return model.inputs, model.outputs
    return graph.input, graph.output


def operation_of(tensor):
    """The layer or operation that gave a symbolic tensor; None for what is no such tensor.

    Nothing public leads from a tensor to it. An input has its `InputLayer`, which knows whether it
    is optional or sparse.
    """
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def operations_before(tensors):
    """All layers and operations that symbolic tensors come from, the last first.

    A model tells them, but cannot be made while two of them have one name.
    """
    found, waiting = {}, list(tensors)
    while waiting:
        history = waiting.pop()._keras_history
        node = history.operation, history.node_index
        if node not in found:
            found[node] = history.operation
            waiting.extend(history.operation._inbound_nodes[history.node_index].input_tensors)
    return list(dict.fromkeys(found.values()))


def forget_restored_epoch(model):
    """Lets the next `fit` of a model begin where it is told to.

    The epoch that `BackupAndRestore` restores stays with the model and overrules `initial_epoch` of
    all later calls of `fit`, such as those that fine-tune. Nothing public takes it back.
    """
    model._initial_epoch = None


@contextlib.contextmanager
def layouts_of_each_batch():
    """Within it Keras on JAX lays out each batch on the devices by its own size.

    Keras asks for a layout at the first batch, and cannot place a last batch of fewer samples by
    it. Nothing public comes between.
    """
    from keras.src.backend.jax import trainer

    def each(iterator, distribution):
        for data in iterator.data_adapter.get_jax_iterator():
            yield trainer._distribute_data(data)

    iterator_class = trainer.JAXEpochIterator
    before = iterator_class._get_distributed_iterator
    iterator_class._get_distributed_iterator = each
    try:
        yield
    finally:
        iterator_class._get_distributed_iterator = before


def rehearses():
    """Tell if Keras runs a step for its shapes alone, with made-up numbers.

    On PyTorch `fit` first runs the losses and metrics of a model that is not built on ones, within
    a scope that keeps their state. What they find there must not be told to the user, and whether
    such a scope is open, nothing public tells.
    """
    from keras.src import backend

    return backend.in_stateless_scope()


def trusted_code():
    """Within it Keras makes functions of the code in a config, as of one that was read here.

    `from_config` of a Lambda, or of a layer around one, refuses it, and takes `safe_mode=False` on
    the outermost layer alone; the public `enable_unsafe_deserialization` holds for ever after.
    """
    from keras.src.saving.serialization_lib import SafeModeScope

    return SafeModeScope(False)


def mark_dense(tensors):
    """Takes the mark of sparse tensors off symbolic ones.

    Keras marks what is multiplied by a number as sparse, and on TensorFlow calls a layer behind it
    that does not tell its output's shape with a sparse tensor. Nothing public takes the mark off.
    """
    for tensor in tensors:
        tensor._sparse = False


def is_plain_functional(model):
    """Tell if a model is made of its inputs and outputs and nothing else.

    Keras decides by this whether a subclass of `keras.Model` is saved as its graph, or as the
    arguments of its constructor, and has no public way to ask.
    """
    from keras.src.models.functional import Functional, functional_like_constructor

    if not isinstance(model, Functional) or type(model).get_config is not Functional.get_config:
        return False
    return functional_like_constructor(type(model))


def runs_its_graph(model):
    """Tell if a functional or Sequential model computes its graph and nothing besides.

    A subclass may have a `call` of its own around that graph, and nothing public tells.
    """
    import keras
    from keras.src.models.functional import Functional

    return type(model).call in (Functional.call, keras.Sequential.call)


def own_variables(layer):
    """Variables of a layer without those of the layers in it.

    `layer.variables` has them together with all others.
    """
    return layer._trainable_variables + layer._non_trainable_variables


def own_seeds(layer):
    """States of the random generators of a layer, without those of the layers in it.

    `layer.variables` has them together with all others.
    """
    return [generator.state for generator in layer._seed_generators]


def averages_of_overwritten_weights():
    """Lets every optimizer with `use_ema` train weights that are overwritten with their gradient.

    Keras keeps no average of them, and stops where TensorFlow and JAX come to their place in its
    list of averages. Such a weight is its own average: there is nothing to smooth. Nothing public
    tells an optimizer so.
    """
    import keras

    build = keras.optimizers.Optimizer.build
    if getattr(build, "fills_averages", False):
        return

    @functools.wraps(build)
    def filled(optimizer, variables):
        result = build(optimizer, variables)
        averages = getattr(optimizer, "_model_variables_moving_average", [])
        for index, average in enumerate(averages):
            if average is None:
                averages[index] = variables[index]
        return result

    filled.fills_averages = True
    keras.optimizers.Optimizer.build = filled
