"""Float32 copy of a model in another precision."""

from kdl._compat import all_layers
from kdl.graph import copy_model
from kdl.graph._settings import remade


def as_float32(model):
    """`model` with every layer computing in float32; `model` itself if that is so already.

    A phone has neither mixed precision nor float64: what is exported, and what it is compared with,
    is the network in float32 with the same weights.

    Args:
        model: A Keras model with weights.

    Returns:
        The model, or an uncompiled copy of it.
    """
    layers = all_layers(model)
    operations = [x for layer in layers for x in getattr(layer, "operations", ())]
    if not any(map(_computes_otherwise, [*layers, *operations])):
        return model
    return copy_model(model, edit=_to_float32)


def _computes_otherwise(operation):
    names = ("compute_dtype", "dtype")  # of an input or a cast the latter alone
    return any(_is_other_float(getattr(operation, name, None)) for name in names)


def _to_float32(config):
    """`config` with every dtype policy replaced by float32."""
    if isinstance(config, list | tuple):
        return remade(config, [*map(_to_float32, config)])
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy":
        return {**config, "config": {**config["config"], "name": "float32"}}
    if config.get("class_name") == "QuantizedDTypePolicy":
        return {**config, "config": {**config["config"], "source_name": "float32"}}
    return {
        key: "float32" if key == "dtype" and _is_other_float(value) else _to_float32(value)
        for key, value in config.items()
    }


def _is_other_float(value):
    return isinstance(value, str) and ("float16" in value or value == "float64")
