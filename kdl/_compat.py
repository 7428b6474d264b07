"""What kdl needs of other libraries and is not in their public interface, each with its reason."""

import contextlib


def has_forward_hooks(layer):
    """Whether someone listens to the calls of a layer on PyTorch.

    PyTorch has `register_forward_hook`, but no public way to ask whether a module has one. kdl's
    blocks must know it, since they leave out the calls of their layers where nobody listens.
    """
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def all_layers(layer):
    """A layer or model, and all layers in it, however deep.

    `model.layers` has the outermost alone, and nothing public leads into composite layers.
    """
    return list(layer._flatten_layers())


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
    """Whether Keras runs a step for its shapes alone, with made-up numbers.

    On PyTorch `fit` first runs the losses and metrics of a model that is not built on ones, within
    a scope that keeps their state. What they find there must not be told to the user, and whether
    such a scope is open, nothing public tells.
    """
    from keras.src import backend

    return backend.in_stateless_scope()
