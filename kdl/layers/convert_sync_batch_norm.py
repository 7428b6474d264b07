"""Batch norms of a model, made synchronised."""

import keras

from kdl._compat import all_layers
from kdl.layers.batch_normalization import BatchNormalization
from kdl.layers.sync_batch_normalization import SyncBatchNormalization

_PLAIN = (keras.layers.BatchNormalization, BatchNormalization)


def convert_sync_batch_norm(model, axis_name=None):
    """Makes every batch norm of a model a `SyncBatchNormalization`, those inside of blocks too.

    The model is changed in place, as PyTorch's function of this name does it: layers, weights and
    outputs stay the same. Compile it afterwards. A saved file remembers the norms that the model
    itself holds; kdl's blocks and applications make theirs anew when they are loaded: convert them
    again before training goes on.

    Args:
        model: A built model. Norms with `renorm` or `synchronized` are left as they are.
        axis_name: As in `SyncBatchNormalization`.

    Returns:
        `model`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
        >>> type(convert_sync_batch_norm(model).layers[-1]).__name__
        'SyncBatchNormalization'
    """
    for layer in all_layers(model):
        if type(layer) in _PLAIN and not (layer.renorm or layer.synchronized):
            layer.__class__ = SyncBatchNormalization
            layer.axis_name = axis_name
    return model
