"""State of a model beside its arguments, in its config: frozen layers, info, synchronization."""

from collections.abc import Callable

import keras

from kdl.data.model_info import ModelInfo, get_model_info, set_model_info
from kdl.layers.normalization.convert_sync_batch_norm import (
    synchronization,
    synchronize_as,
)

_FROZEN = "frozen"
_INFO = "model_info"
_SYNCHRONIZED = "synchronized"


def with_state(model: keras.Model, config: dict) -> dict:
    """`config` with what is frozen of the model, its `ModelInfo`, and whether it synchronizes.

    Keras keeps what is frozen for a model of its own, layer by layer; kdl's are made anew from
    their arguments when they are loaded. Weights of a synchronized batch norm have another place in
    a file than those of one that is not synchronized.
    """
    config = dict(config)
    names = [layer.name for layer in model.layers if not layer.trainable]
    if names:
        config[_FROZEN] = names
    if get_model_info(model) != ModelInfo():
        config[_INFO] = get_model_info(model).to_dict()
    synchronized = synchronization(model)
    if synchronized:
        config[_SYNCHRONIZED] = synchronized
    return config


def from_state(build: Callable, config: dict) -> keras.Model:
    """The model that `build(**config)` gives, in the state that `with_state` added."""
    config = dict(config)
    names, info = set(config.pop(_FROZEN, ())), config.pop(_INFO, None)
    synchronized = config.pop(_SYNCHRONIZED, None)
    model = build(**config)
    if synchronized is not None:
        synchronize_as(model, **synchronized)
    for layer in model.layers:
        if layer.name in names:
            layer.trainable = False
    if info:
        set_model_info(model, ModelInfo.from_dict(info))
    return model
