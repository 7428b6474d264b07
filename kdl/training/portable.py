"""Saving a model so that every backend can load it."""

import os

from kdl.data.model_info import ModelInfo, write_model_info
from kdl.training.disk import check_space


def save_portable(model, path, info=None):
    """Saves `model` without its optimizer, whose state other backends cannot load.

    The file takes its place at `path` in one step, so that it is whole or not there.

    Args:
        model: A Keras model.
        path: `.keras` file.
        info: `kdl.data.ModelInfo` to keep in the file, or None.

    Raises:
        OSError: If the file cannot be written.

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
    plain = plain_copy(model)
    draft = os.path.join(os.path.dirname(os.path.abspath(path)), ".draft.keras")
    try:
        plain.save(draft)
        write_model_info(draft, info or ModelInfo())
        os.replace(draft, path)
    finally:
        if os.path.exists(draft):
            os.remove(draft)


def plain_copy(model, **changes):
    """A model with the same weights that is not compiled.

    Args:
        model: A Keras model that is built.
        **changes: Entries of its configuration, such as `name`.
    """
    plain = type(model).from_config({**model.get_config(), **changes})
    if not plain.built:  # a subclass of Model, whose configuration says nothing of its input
        plain.build_from_config(model.get_build_config())
        plain.built = True
    plain.set_weights(model.get_weights())
    return plain
