import keras
import numpy as np
import pytest

import kdl
from kdl.deploy import ExportError
from kdl.deploy.exporting.precision import as_float32, check_copy

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


class Helper:
    gain = 3.0


class Helped(keras.layers.Layer):
    """Computes with an object that no copy gets."""

    helper = None

    def call(self, x):
        return x if self.helper is None else x * self.helper.gain


def test_copy_that_loses_what_a_layer_computes_with_is_refused():
    inputs = keras.Input((2,))
    layer = Helped()
    model = keras.Model(inputs, keras.layers.Dense(3, dtype="mixed_bfloat16")(layer(inputs)))
    x = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
    check_copy(model, x)
    layer.helper = Helper()
    model.predict_function = None  # compiled with what the layer had
    with pytest.raises(ExportError, match="neither a weight nor in its config"):
        check_copy(model, x)
