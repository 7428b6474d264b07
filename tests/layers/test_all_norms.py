"""What every norm of the library does, whoever adds one."""

import keras
import numpy as np
import pytest

import kdl

NORMS = [name for name in dir(kdl.layers) if name.endswith("Normalization")]


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(16, 8), (4, 8, 8, 8)])
def test_float32_inputs_above_its_largest_number(name, training, shape):
    x = np.random.default_rng(0).uniform(6e4, 9e4, shape).astype("float32")
    found = {}
    for policy in ("mixed_float16", "float32"):
        layer = getattr(kdl.layers, name)(dtype=policy)
        y = layer(x * np.float32(1 if training else 0.1), training=training)
        assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
        found[policy] = keras.ops.convert_to_numpy(keras.ops.cast(y, "float32"))
    np.testing.assert_allclose(found["mixed_float16"], found["float32"], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_inputs_of_another_dtype_give_outputs_of_the_policy(name, dtype):
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 8))
    x = x if dtype == "float64" else keras.ops.cast(x, dtype)
    layer = getattr(kdl.layers, name)()
    assert keras.backend.standardize_dtype(layer(x, training=True).dtype) == "float32"


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(0, 8), (0, 4, 4, 8)])
@pytest.mark.parametrize("training", [True, False])
def test_empty_batch_leaves_the_weights(name, shape, training):
    layer = getattr(kdl.layers, name)()
    layer(np.random.default_rng(0).normal(3, 1, (4, *shape[1:])), training=True)
    before = layer.get_weights()
    assert tuple(layer(np.zeros(shape, "float32"), training=training).shape) == shape
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="sizes are known elsewhere")
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("shape", [(0, 8), (0, 4, 4, 8)])
def test_empty_batch_of_a_compiled_step_leaves_the_weights(name, shape):
    """On TensorFlow, where the step is compiled before the size of the batch is known."""
    import tensorflow as tf

    layer = getattr(kdl.layers, name)()
    layer(np.random.default_rng(0).normal(3, 1, (4, *shape[1:])), training=True)

    @tf.function(input_signature=[tf.TensorSpec((None, *shape[1:]))])
    def step(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(total, [v.value for v in layer.trainable_variables])

    before = layer.get_weights()
    gradients = [gradient for gradient in step(np.zeros(shape)) if gradient is not None]
    assert gradients
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
