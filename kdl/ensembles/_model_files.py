"""Members as the bytes of `.keras` files.

Keras is imported inside the functions, as in `_member_training`.
"""

import os
import tempfile


class SerializationError(ValueError):
    """A member can't be written to a file and read back; the message says why, and what to do."""


def write_model(model):
    """The bytes of a `.keras` file that every backend can load."""
    from kdl.training.portable import save_portable

    with tempfile.TemporaryDirectory(prefix="kdl-member-") as folder:
        path = os.path.join(folder, "member.keras")
        save_portable(model, path)
        with open(path, "rb") as file:
            return file.read()


def read_model(content):
    """The model of the bytes of a `.keras` file."""
    import keras

    with tempfile.TemporaryDirectory(prefix="kdl-member-") as folder:
        path = os.path.join(folder, "member.keras")
        with open(path, "wb") as file:
            file.write(content)
        return keras.models.load_model(path, compile=False)


def write_and_check(model, owner):
    """The bytes of a `.keras` file that was read back.

    Args:
        model: The model.
        owner: What messages call the thing that it belongs to.

    Raises:
        SerializationError: If it can't be written, or not be read back.
        OSError: If a file can't be written, on a full disk for instance: no layer's fault.
    """
    try:
        content = write_model(model)
        read_model(content)
        return content
    except OSError:
        raise
    except Exception as error:  # of Keras and of whoever wrote the layers
        raise _model_error(model, owner, error) from error


def serialization_error(subject, error):
    """The `SerializationError` of something that can't go through a file.

    Args:
        subject: What messages call it.
        error: The exception that was raised.
    """
    reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return SerializationError(
        f"{subject} can't be written to a file and read back, as members must be, so nothing was "
        f"trained: {type(error).__name__}: {reason}. Decorate its class (of a Lambda layer or a "
        f"loss the function, which may not be a lambda) with "
        f"@keras.saving.register_keras_serializable() in a module that every process imports, and "
        f"let get_config return all arguments of the constructor."
    )


def display_name(layer):
    """Name and class of a layer or model, for messages."""
    return f"{layer.name!r} ({type(layer).__name__})"


def _model_error(model, owner, error):
    """The `SerializationError` of a model; it names the first layer at fault."""
    import keras

    for layer in _inner_layers(model):
        try:
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        except Exception as its_error:
            return serialization_error(f"Layer {display_name(layer)} of {owner}", its_error)
    return serialization_error(f"Model {display_name(model)} of {owner}", error)


def _inner_layers(model):
    """The layers of a model, those of the models in it before these."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _inner_layers(layer)
        yield layer
