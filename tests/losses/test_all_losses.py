"""What every loss of the room does, whoever adds one."""

import keras
import numpy as np
import pytest

import kdl

NAMES = [name for name in dir(kdl.losses) if not name.startswith("_")]
CLASSES = [name for name in NAMES if name[0].isupper()]
ENDS = ("loss", "entropy", "mining", "hinge", "softmax")
FUNCTIONS = [name for name in NAMES if name[0].islower() and name.endswith(ENDS)]


@pytest.mark.parametrize("name", CLASSES)
def test_dtype_stays_in_the_config(name):
    loss = getattr(kdl.losses, name)(dtype="float16")
    assert type(loss).from_config(loss.get_config()).dtype == "float16"


def test_each_class_has_its_function():
    assert len(CLASSES) == len(FUNCTIONS) >= 9


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_model_compiled_with_the_function_loads(name, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", getattr(kdl.losses, name))
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").loss is getattr(kdl.losses, name)


def test_arguments_of_numpy_come_back():
    for loss in (
        kdl.losses.FocalLoss(alpha=np.array([0.1, 0.2])),
        kdl.losses.RepulsionLoss(variances=np.full(4, 0.5)),
        kdl.losses.TripletLoss(margin=np.float32(0.5)),
        kdl.losses.JaccardLoss(classes=[np.int64(1)]),
    ):
        text = keras.saving.serialize_keras_object(loss)
        assert keras.saving.deserialize_keras_object(text).get_config() == loss.get_config()
