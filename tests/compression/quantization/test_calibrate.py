import keras
import numpy as np
import pytest

from kdl.compression import calibrate
from kdl.layers import FakeQuantize


@pytest.mark.every_backend
def test_ranges_are_the_extremes_of_the_data_and_stay():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    data = np.random.default_rng(0).standard_normal((50, 4)).astype("float32")
    quantized, report = calibrate(model, data, batch_size=16, verbose=0)
    assert report.complete
    seen = [data, quantized.get_layer(model.layers[1].name)(data)]
    observers = [x for x in quantized.layers if isinstance(x, FakeQuantize)]
    for observer, values in zip(observers, seen, strict=True):
        values = keras.ops.convert_to_numpy(values)
        ends = [keras.ops.convert_to_numpy(v)[0] for v in (observer.low, observer.high)]
        np.testing.assert_allclose(ends, [values.min(), values.max()], rtol=1e-5)
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in observers[0].weights]
    quantized.compile("sgd", "mse")
    quantized.fit(5 * data, np.zeros((50, 3)), verbose=0)
    for old, new in zip(before, observers[0].weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new))


def test_zeros_alone_have_a_range_that_litert_takes():
    """Behind a ReLU that is dead on the data: of no range it got a scale without a fast kernel."""
    inputs = keras.Input((4,))
    dead = keras.layers.Dense(2, "relu", bias_initializer=keras.initializers.Constant(-90))
    model = keras.Model(inputs, dead(inputs))
    quantized, _ = calibrate(model, np.ones((4, 4), "float32"), verbose=0)
    last = [layer for layer in quantized.layers if isinstance(layer, FakeQuantize)][-1]
    assert [float(end) for end in last.range] == [0.0, 1.0]
