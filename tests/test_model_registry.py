"""The registry of models with their task, on the ground floor: `kdl._registry`."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import kdl
from kdl import _registry
from kdl.applications import create_model, list_models, macs


def names(task):
    return [entry.name for entry in list_models(task)]


def test_list_models_by_task():
    assert names("segmenter") == ["spnet50", "spnet101"]
    assert names("detector") == []
    assert names(None) == [*names("classifier"), *names("segmenter")]
    assert list_models() == list_models("classifier")
    assert {entry.task for entry in list_models()} == {"classifier"}
    assert _registry.list_models() == list_models(None)


def test_list_models_unknown_task_raises():
    with pytest.raises(ValueError, match=r"task must be one of 'classifier', .*received 'pose'"):
        list_models("pose")


def test_register_taken_name_raises():
    with pytest.raises(ValueError, match="There is a model 'spnet50' already"):
        _registry.register(list_models("segmenter"))
    assert names("segmenter") == ["spnet50", "spnet101"]


def test_create_model_of_another_task():
    model = create_model("spnet50", input_shape=(32, 32, 3), classes=4, auxiliary=False)
    assert isinstance(model, kdl.segmentation.SPNet)
    assert (model.name, model.output_shape) == ("spnet50", (None, 32, 32, 4))
    with pytest.raises(ValueError, match="Did you mean spnet50 or spnet101"):
        create_model("SPNet")


@pytest.mark.parametrize("name", ["spnet50", "spnet101"])
def test_segmenters_parameters_and_multiply_adds(name):
    [entry] = [entry for entry in list_models("segmenter") if entry.name == name]
    with keras.StatelessScope(initialize_variables=False):
        model = entry.constructor(**entry.arguments, input_shape=entry.input_shape)
        counted = macs(model)
    keras.utils.clear_session()
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == entry.parameters
    assert (entry.macs, entry.counted_macs) == (None, counted)


@pytest.mark.long
def test_packages_of_models_are_imported_on_demand():
    code = "import kdl._registry as r; print(*(e.name for e in r.list_models('segmenter')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["spnet50", "spnet101"]
