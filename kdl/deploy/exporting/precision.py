"""Float32 copy of a model in another precision."""

import numpy as np
from keras import tree

from kdl._compat import all_layers
from kdl.deploy.exporting.conversion import ExportError
from kdl.graph import copy_model

# Of outputs of the same model, computed twice.
_SAME = 1e-3
_SAMPLES = 8


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


def check_copy(model, inputs):
    """Raises ExportError unless a copy of a model gives its outputs.

    The float32 network of a model in another precision is such a copy, and the file is compared
    with it: what the copy lost would be lost on both sides.

    Args:
        model: A Keras model.
        inputs: Samples as it takes them; a few are enough.

    Raises:
        ExportError: If the outputs differ; the message says what to do.
    """
    few = tree.map_structure(lambda x: x[:_SAMPLES], inputs)
    ours, theirs = (
        [np.float64(x) for x in tree.flatten(m.predict(few, verbose=0))]
        for m in (model, copy_model(model))
    )
    for one, other in zip(ours, theirs, strict=True):
        spread = np.ptp(one[np.isfinite(one)]) if np.isfinite(one).any() else 0.0
        if not np.allclose(one, other, rtol=_SAME, atol=_SAME * spread, equal_nan=True):
            raise ExportError(
                f"A copy of {model.name} gives other outputs, and the float32 network that a file "
                f"holds is a copy. A layer computes with something that is neither a weight nor in "
                f"its config: let get_config return it, or keep it as a weight; or build the model "
                f"in float32. No file was written."
            )


def _computes_otherwise(operation):
    names = ("compute_dtype", "dtype")  # of an input or a cast the latter alone
    return any(_is_other_float(getattr(operation, name, None)) for name in names)


def _to_float32(config):
    """`config` with every dtype policy replaced by float32."""
    if isinstance(config, list | tuple):
        return type(config)(_to_float32(entry) for entry in config)
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
