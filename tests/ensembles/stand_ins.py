"""Members that train in no time and whose outputs can be computed by other means."""

import os
import signal
from concurrent.futures import Executor, Future

import keras
import numpy as np
from keras import ops
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor


@keras.saving.register_keras_serializable("kdl_tests")
class Stump(keras.layers.Layer):
    """One threshold on one feature, as scikit-learn's tree of depth one."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.feature = self.add_weight((input_shape[-1],), "zeros", name="feature")
        self.threshold = self.add_weight((), "zeros", name="threshold")
        self.leaves = self.add_weight((2, self.units), "zeros", name="leaves")

    def call(self, x):
        value = ops.sum(x * self.feature, -1, keepdims=True)
        return ops.where(value <= self.threshold, self.leaves[0], self.leaves[1])

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("kdl_tests")
class EagerModel(keras.Model):
    """A model that is never compiled to a graph, which takes longer than all it does here."""

    def predict(self, x, batch_size=None, verbose=0):
        return ops.convert_to_numpy(self(x, training=False))


@keras.saving.register_keras_serializable("kdl_tests")
class StumpModel(EagerModel):
    """A model whose `fit` is scikit-learn's."""

    regression = False

    def fit(self, x, y, sample_weight=None, verbose=0):
        kind = DecisionTreeRegressor if self.regression else DecisionTreeClassifier
        fitted = kind(max_depth=1, random_state=0).fit(x, y, sample_weight)
        values = fitted.tree_.value.reshape(fitted.tree_.node_count, -1)
        width = self.output_shape[-1]
        full = np.zeros((len(values), width))
        full[:, np.arange(width) if self.regression else fitted.classes_] = values
        leaves = full[1:] if len(full) == 3 else full[[0, 0]]
        feature = np.eye(x.shape[1])[max(fitted.tree_.feature[0], 0)]
        self.set_weights([feature, fitted.tree_.threshold[0], leaves])


@keras.saving.register_keras_serializable("kdl_tests")
class RegressionStumpModel(StumpModel):
    regression = True


def stump(input_shape, outputs):
    return _stump(StumpModel, input_shape, outputs)


def regression_stump(input_shape, outputs):
    return _stump(RegressionStumpModel, input_shape, outputs)


def _stump(kind, input_shape, outputs):
    inputs = keras.Input(input_shape)
    model = kind(inputs=inputs, outputs=Stump(outputs)(inputs))
    model.compile("sgd", "mse")
    return model


@keras.saving.register_keras_serializable("kdl_tests")
class QuickModel(EagerModel):
    """A network whose first layer stays as the seed made it, and whose last one is solved for."""

    def fit(self, x, y, sample_weight=None, verbose=0, **ignored):
        kernel, bias, last, _ = self.get_weights()
        hidden = np.maximum(x.reshape(len(x), -1) @ kernel + bias, 0)
        hidden = np.concatenate([hidden, np.ones((len(x), 1))], -1)
        targets = y if y.ndim == 2 else 8.0 * np.eye(last.shape[1])[y]
        root = np.ones((len(x), 1)) if sample_weight is None else sample_weight[:, None] ** 0.5
        solved = np.linalg.lstsq(hidden * root, targets * root, rcond=1e-6)[0]
        self.set_weights([kernel, bias, solved[:-1], solved[-1]])


def mlp(input_shape, outputs, units=8, end="softmax"):
    inputs = keras.Input(input_shape)
    x = keras.layers.Dense(units, "relu")(keras.layers.Flatten()(inputs))
    model = QuickModel(inputs=inputs, outputs=keras.layers.Dense(outputs, activation=end)(x))
    model.compile("sgd", "mse")
    return model


def plain_mlp(input_shape, outputs):
    """As a user would write it."""
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu")]
    layers = [keras.Input(input_shape), *layers, keras.layers.Dense(outputs, "softmax")]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    return model


def linear_mlp(input_shape, outputs):
    return mlp(input_shape, outputs, end=None)


def mlp_that_is_killed_once(input_shape, outputs, folder, count):
    """The process that builds after `count` others were built ends without a word."""
    before = len(os.listdir(folder))
    open(os.path.join(folder, f"{os.getpid()}-{before}"), "w").close()
    if before == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return mlp(input_shape, outputs)


def blobs(classes=3, count=90, features=4, seed=0):
    """Overlapping clouds with values that float32 holds exactly, and labels that are words."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.arange(count) % classes)
    x = rng.normal(size=(count, features)) + numbers[:, None] * rng.normal(1, 0.5, features)
    return np.round(x * 256).astype("float32") / 256, np.array(["kale", "leek", "mint"])[numbers]


class AtOnce(Executor):
    """An executor as simple as one can be."""

    def submit(self, function, *args):
        future = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future
