import keras
import numpy as np
import pytest

import kdl
from kdl.deploy.exporting.warm_converter import shared


@pytest.fixture(scope="session")
def samples():
    """Digits of the test set and their labels."""
    _, (images, labels) = kdl.data.digits(size=48)
    return images[:120], labels[:120]


@pytest.fixture(scope="session")
def trained(root):
    """The quickstart's model."""
    return keras.models.load_model(root / "saved_models" / "quickstart" / "model.keras")


def small_network(outputs=4, activation="softmax"):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, activation)(x))


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    return small_network()


@pytest.fixture
def images():
    return np.random.default_rng(0).random((20, 12, 12, 3)).astype("float32")


@pytest.fixture
def own_process(monkeypatch):
    """Each export starts a process, which takes over the limits and paths of the moment."""
    monkeypatch.setattr(shared, "worker", None)
