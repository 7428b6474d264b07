"""Batch norms of a model, made synchronized."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._compat import all_layers
from kdl.layers.normalization.batch_normalization import BatchNormalization
from kdl.layers.normalization.sync_batch_normalization import SyncBatchNormalization

_PLAIN = (keras.layers.BatchNormalization, BatchNormalization)


def convert_sync_batch_norm(model: keras.Model, axis_name: str | None = None) -> keras.Model:
    """Makes every batch norm of a model a `SyncBatchNormalization`, those inside of blocks too.

    The model is changed in place, as PyTorch's function of this name does it: layers, weights and
    outputs stay the same. Compile it afterwards. A saved file remembers it, but for norms that a
    composite layer of your own makes: convert a model with such layers again once it is loaded.

    Args:
        model: A built model. Norms with `renorm` or `synchronized` are left as they are.
        axis_name: As in `SyncBatchNormalization`.

    Returns:
        `model`.

    Raises:
        ValueError: If it is no Keras model.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
        >>> type(convert_sync_batch_norm(model).layers[-1]).__name__
        'SyncBatchNormalization'
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(f"Expected a built Keras model; received a {type(model).__name__}.")
    for layer in all_layers(model):
        if type(layer) in _PLAIN and not (layer.renorm or layer.synchronized):
            synchronize(layer, axis_name)
    return model


def synchronize(norm: keras.layers.Layer, axis_name: str | None) -> keras.layers.Layer:
    """Makes a batch norm a `SyncBatchNormalization`, in place."""
    norm.__class__ = SyncBatchNormalization
    norm.axis_name = axis_name
    norm.autocast = False


def synchronization(layer: keras.layers.Layer) -> dict[str, Any] | None:
    """Synchronized norms of a layer, for `synchronize_as`; None if there are none.

    Args:
        layer: A built layer or model.

    Returns:
        Dict with `axis_name`, and where they are not all batch norms, their `places` among these.
    """
    norms = _batch_norms(layer)
    places = [i for i, norm in enumerate(norms) if isinstance(norm, SyncBatchNormalization)]
    if not places:
        return None
    config = {"axis_name": norms[places[0]].axis_name}
    return config if len(places) == len(norms) else {**config, "places": places}


def synchronize_as(
    layer: keras.layers.Layer, axis_name: str | None, places: Sequence[int] | None = None
) -> None:
    """Synchronizes the norms of a layer that is made anew, as `synchronization` tells of another.

    Args:
        layer: A built layer or model.
        axis_name: As in `SyncBatchNormalization`.
        places: Places of the norms among all batch norms; all by default.
    """
    for place, norm in enumerate(_batch_norms(layer)):
        if places is None or place in places:
            convert_sync_batch_norm(norm, axis_name)


def _batch_norms(layer):
    kinds = (*_PLAIN, SyncBatchNormalization)
    return [norm for norm in all_layers(layer) if type(norm) in kinds]


def is_synchronized_plain(norm: keras.layers.Layer, other: keras.layers.Layer) -> bool:
    """Tell if `norm` is what `convert_sync_batch_norm` makes of a norm such as `other`."""
    return type(norm) is SyncBatchNormalization and type(other) in _PLAIN
