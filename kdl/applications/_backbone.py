"""Backbones that are given to a larger network."""

import keras


def as_backbone(backbone: keras.Model | dict) -> keras.Model:
    """A functional model, given as it is or in its serialized form; ValueError if it is none."""
    if isinstance(backbone, dict):
        backbone = keras.saving.deserialize_keras_object(backbone)
    if not isinstance(backbone, keras.Model) or not hasattr(backbone, "operations"):
        raise ValueError(f"backbone must be a functional model; received {backbone!r}.")
    return backbone


def conventions(backbone, dtype=None, data_format=None):
    """Dtype policy and data format of what is built on a backbone: those given, or else its own.

    Args:
        backbone: A functional model; one that is not of kdl leaves it to Keras's settings.
        dtype: Dtype policy, or None.
        data_format: `"channels_last"`, `"channels_first"` or None.
    """
    config = backbone.get_config()
    data_format = data_format or config.get("data_format") or keras.config.image_data_format()
    dtype = dtype or config.get("dtype") or keras.config.dtype_policy()
    return keras.dtype_policies.get(dtype), data_format
