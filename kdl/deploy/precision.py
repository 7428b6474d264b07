"""The float32 twin of a model."""

import keras


def as_float32(model):
    """`model` with every layer computing in float32; `model` itself if that is so already.

    A phone has no mixed precision: what is exported, and what it is compared with, is the network
    in float32 with the same weights.

    Args:
        model: A Keras model with weights.

    Returns:
        The model, or an uncompiled copy of it.
    """
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    wide = _widen(config)
    if wide == config:
        return model
    twin = keras.saving.deserialize_keras_object(wide, safe_mode=False)
    twin.set_weights(model.get_weights())
    return twin


def _widen(config):
    """`config` with every dtype policy replaced by float32."""
    if isinstance(config, list | tuple):
        return type(config)(_widen(entry) for entry in config)
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {**config["config"], "name": "float32"}}
    return {
        key: "float32" if key == "dtype" and _is_narrow(value) else _widen(value)
        for key, value in config.items()
    }


def _is_narrow(value):
    return isinstance(value, str) and ("float16" in value)
