"""Objects that an earlier version serialized are read, wherever their classes have moved since."""

import copy
import json

import keras
import pytest

import kdl

# Class → argument as it was saved → as it is called today.
RENAMED = {
    "losses.HardNegativeMining": {
        "background": "background_class",
        "normalize": "normalize_by_positives",
    }
}
# Class → arguments that it has got since, with their defaults.
ADDED = {
    "layers.InvertedResidual": {
        "inner_filters": None,
        "activation": "relu6",
        "squeeze_filters": None,
    },
    "layers.SqueezeExcite": {"filters": None, "gate": "sigmoid"},
    "metrics.CocoMeanAveragePrecision": {"kind": "bbox"},
}
ONCE = pytest.mark.skipif(keras.backend.backend() != "torch", reason="of no backend: once")


@ONCE
def test_every_class_serialized_before_is_read(root):
    """The file holds one object of each class, as `keras.saving.serialize_keras_object` gave it."""
    saved = json.loads((root / "tests" / "golden" / "serialized" / "0.1.0.json").read_text())
    assert len(saved) == 63
    for name, written in saved.items():
        package, cls = name.split(".")
        revived = keras.saving.deserialize_keras_object(copy.deepcopy(written))
        assert isinstance(revived, getattr(getattr(kdl, package), cls)), name
        again = json.loads(json.dumps(keras.saving.serialize_keras_object(revived)))
        assert again["registered_name"] == written["registered_name"]
        today = RENAMED.get(name, {})
        config = {today.get(key, key): value for key, value in written["config"].items()}
        config |= ADDED.get(name, {})
        assert without_modules(again["config"]) == without_modules(config), name


def without_modules(config):
    """A config without the places of classes, which may move."""
    if isinstance(config, dict):
        return {key: without_modules(value) for key, value in config.items() if key != "module"}
    if isinstance(config, list):
        return [without_modules(value) for value in config]
    return config
