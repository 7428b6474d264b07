"""Portable `.keras` files, which every backend can load."""

import zlib

import keras

from kdl._compat import all_layers
from kdl._files import check_space, draft_of
from kdl._typing import Path
from kdl.data.model_info import ModelInfo, get_model_info, write_model_info
from kdl.graph.copy_model import portable_copy
from kdl.graph.copy_weights import own_values, stored_weights
from kdl.graph.saved_form import check_saved_form, check_told_once, lost_weights
from kdl.graph.wrapper import network_of


def save_portable(model: keras.Model, path: Path, info: ModelInfo | None = None) -> None:
    """Saves `model` without its optimizer, whose state other backends cannot load.

    The file takes its place at `path` in one step, so that it is whole or not there.

    `keras.models.load_model` reads it on any backend, in a program that has imported what the
    model is made of: `import kdl` for models and layers of kdl, the module of your own classes,
    which must be registered with Keras. A file for Keras alone, without kdl, is
    `save_portable(kdl.compression.flatten(model), path)`.

    Args:
        model: A Keras model.
        path: `.keras` file.
        info: `kdl.data.ModelInfo` to keep in the file; None (default) for the one that the model
            remembers (`kdl.data.get_model_info`).

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a layer cannot be copied, does not write its weights as they are, is a
            Lambda that reads names of its script, has a lambda for an argument, or is shared in a
            way that Keras's files do not hold; the message names it.

    Example:
        >>> import keras, os, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> path = os.path.join(tempfile.mkdtemp(), "model.keras")
        >>> save_portable(model, path)
        >>> keras.models.load_model(path).compiled
        False
    """
    check_space(path, model.variables)
    check_saved_form(model)
    check_told_once(network_of(model))
    plain = portable_copy(model)
    with draft_of(path, ".keras") as draft:
        plain.save(draft)
        _check_written(plain, draft)
        write_model_info(draft, info or get_model_info(model))


def _check_written(model, path):
    """Raise ValueError unless the file holds the weights of `model`, into which it is loaded."""
    layers = all_layers(model)
    written = [_checksum(layer) for layer in layers]
    model.load_weights(path)
    lost = [layer for layer, was in zip(layers, written, strict=True) if _checksum(layer) != was]
    if lost:
        raise ValueError(lost_weights(lost[0]))


def _checksum(layer):
    # A file holds the sum of a kernel and its adapters.
    adapted = getattr(layer, "lora_enabled", False)
    values = stored_weights(layer) if adapted else own_values(layer)
    return [zlib.crc32(value.tobytes()) for value in values]
