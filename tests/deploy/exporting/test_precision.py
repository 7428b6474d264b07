import collections

import keras
import numpy as np
import pytest

import kdl
from kdl.deploy.exporting.precision import as_float32

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_twin_has_the_weights_and_computes_in_float32(policy):
    model = kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=3, dtype=policy)
    counterpart = as_float32(model)
    assert {layer.compute_dtype for layer in counterpart.layers} == {"float32"}
    assert model.get_layer("stem_conv").compute_dtype != "float32"
    for one, other in zip(model.get_weights(), counterpart.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert keras.config.dtype_policy().name == "float32"


def test_a_float32_model_is_its_own_twin():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert as_float32(model) is model


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")  # JAX has it only if asked
def test_float64_is_narrowed():
    inputs = keras.Input((2,), dtype="float64")
    outputs = keras.layers.Dense(1, dtype="float64")(inputs)
    model = keras.Model(inputs, keras.ops.cast(outputs, "float64"))
    counterpart = as_float32(model)
    assert {layer.compute_dtype for layer in counterpart.layers if layer.weights} == {"float32"}
    ends = [counterpart.inputs[0].dtype, counterpart.outputs[0].dtype]
    assert [keras.backend.standardize_dtype(dtype) for dtype in ends] == ["float32"] * 2
    np.testing.assert_array_equal(counterpart.get_weights()[0], np.float32(model.get_weights()[0]))


def test_constants_that_a_layer_makes_in_its_precision_are_made_anew():
    mean, variance = [123.675, 116.28], [3409.976, 3262.694]
    inputs = keras.Input((2,))
    norm = keras.layers.Normalization(mean=mean, variance=variance, dtype="mixed_bfloat16")
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="mixed_bfloat16")(norm(inputs)))
    [counterpart] = [x for x in as_float32(model).layers if hasattr(x, "mean")]
    assert keras.backend.standardize_dtype(counterpart.mean.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(counterpart.mean)[0], mean, rtol=1e-6)


class Grid(keras.layers.Layer):
    """Keeps a named tuple, the precision in words, and a table in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._size = Size(2, 3)
        self._precision = self.compute_dtype

    def build(self, shape):
        self._table = keras.ops.convert_to_tensor([0.1, 0.7], self.compute_dtype)

    def call(self, x):
        return x * keras.ops.cast(self._table, x.dtype) * self._size.width


Size = collections.namedtuple("Size", ["height", "width"])


def test_named_tuples_and_words_of_the_precision_are_the_copys_own():
    inputs = keras.Input((2,))
    layer = Grid(dtype="mixed_bfloat16")
    model = keras.Model(inputs, layer(inputs))
    layer._size = Size(2, 5)
    [counterpart] = [x for x in as_float32(model).layers if isinstance(x, Grid)]
    assert counterpart._size == Size(2, 5)
    assert counterpart._size.width == 5
    assert counterpart._precision == "float32"
    table = keras.ops.convert_to_numpy(counterpart._table)
    np.testing.assert_allclose(table, [0.1, 0.7], rtol=1e-6)
