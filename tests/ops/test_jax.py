import keras
import numpy as np
import pytest

from kdl.ops import depthwise_conv
from kdl.ops._jax import as_one


def double(x, times):
    return x * times


def test_output_equals_the_function():
    x = np.float32([1, 2])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(as_one(double, (x,), 2)), [2, 4])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(as_one(double, (x,), 3)), [3, 6])


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="compiles with JAX")
def test_function_of_many_operations_is_compiled_once():
    import jax

    compiled = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    x = keras.ops.convert_to_tensor(np.ones((1, 11, 13, 3), "float32"))
    kernel = keras.ops.convert_to_tensor(np.ones((3, 3, 3, 1), "float32"))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(2):
            depthwise_conv(x, kernel, padding="same", lowering="shift")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) == 1
