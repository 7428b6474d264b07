import warnings

import keras
import numpy as np
import pytest

from kdl.layers import FakeQuantize, QuantizedDense
from kdl.ops import fake_quantize
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def ends(layer):
    return [float(to_numpy(v)[0]) for v in (layer.low, layer.high)]


def batch(low, high):
    return np.array([[low, 0.1, high]], "float32")


def test_layer_with_a_fixed_range():
    arguments = {"fixed_range": (-1.0, 127 / 128), "bits": 4, "observer": "min_max"}
    run_layer_test(
        FakeQuantize,
        {**arguments, "momentum": 0.9, "sites": 1},
        (2, 5, 4),
        reference=lambda layer, x: to_numpy(fake_quantize(x, -1.0, 127 / 128, 4)),
        mixed_precision=False,  # rounding to few values magnifies that of the inputs
        atol=1e-5,
    )


def test_a_fixed_range_may_end_at_zero():
    outputs = FakeQuantize(bits=2, fixed_range=(-3.0, 0.0))(np.float32([-4.0, -1.2, 1.0]))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(outputs), [-3.0, -1.0, 0.0])


def test_the_first_batch_sets_the_range_and_an_average_follows():
    layer = FakeQuantize(momentum=0.75)
    layer(batch(-1.0, 2.0), training=True)
    np.testing.assert_allclose(ends(layer), [-1.0, 2.0])
    layer(batch(-3.0, 6.0), training=True)
    np.testing.assert_allclose(ends(layer), [-1.5, 3.0])
    layer(batch(-9.0, 9.0), training=False)
    np.testing.assert_allclose(ends(layer), [-1.5, 3.0])


def test_extremes_only_grow():
    layer = FakeQuantize(observer="min_max")
    for low, high in [(-1.0, 2.0), (-0.5, 3.0), (-0.2, 0.5)]:
        layer(batch(low, high), training=True)
    np.testing.assert_allclose(ends(layer), [-1.0, 3.0])


def test_the_range_always_holds_zero():
    layer = FakeQuantize()
    layer(np.array([[2.0, 4.0]], "float32"), training=True)
    np.testing.assert_allclose(ends(layer), [0.0, 4.0])


def test_sites_share_the_union_of_their_ranges():
    layer = FakeQuantize(sites=2, momentum=0.5)
    layer(batch(-1.0, 0.5), site=0, training=True)
    layer(batch(-0.1, 4.0), site=1, training=True)
    y = to_numpy(layer(batch(-5.0, 5.0), site=0))
    scale = 5 / 255
    assert abs(y[0, 0] + 1.0) <= scale
    assert abs(y[0, 2] - 4.0) <= scale


def test_ranges_beyond_half_precision():
    layer = FakeQuantize(dtype="mixed_float16")
    y = layer(np.array([[-1.0, 60000.0]], "float16"), training=True)
    layer.high.assign([1e6])
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    assert np.isfinite(to_numpy(layer(np.array([[-1.0, 60000.0]], "float16")))).all()


def test_frozen_it_stays():
    layer = FakeQuantize()
    layer(batch(-1.0, 1.0), training=True)
    layer.trainable = False
    layer(batch(-7.0, 7.0), training=True)
    np.testing.assert_allclose(ends(layer), [-1.0, 1.0])


def test_in_a_model_the_range_follows_fit():
    inputs = keras.Input((3,))
    layer = FakeQuantize(momentum=0.5)
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    model.compile("sgd", "mse")
    model.fit(np.repeat(batch(-2.0, 4.0), 4, axis=0), np.zeros((4, 1)), verbose=0)
    np.testing.assert_allclose(ends(layer), [-2.0, 4.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1}, "bits must be an integer from 2 to 16"),
        ({"observer": "median"}, "observer must be one of"),
        ({"momentum": 1.5}, "momentum must be from 0 to 1"),
        ({"sites": 0}, "sites must be a positive integer"),
        ({"fixed_range": (0.5, 1.0)}, r"that holds zero; received \(0.5, 1.0\)"),
        ({"fixed_range": (0.0, 0.0)}, "with low < high"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FakeQuantize(**arguments)


@pytest.mark.parametrize("observer", ["ema", "min_max"])
def test_an_empty_batch_leaves_the_range(observer):
    layer = FakeQuantize(observer=observer, momentum=0.5)
    assert tuple(layer(np.zeros((0, 2), "float32"), training=True).shape) == (0, 2)
    layer(np.array([[-1.0, 2.0]], "float32"), training=True)
    layer(np.zeros((0, 2), "float32"), training=True)
    assert [float(end) for end in layer.range] == [-1.0, 2.0]


def test_within_a_layer_that_asks_for_its_shape():
    layer = keras.layers.TimeDistributed(FakeQuantize())
    assert layer.compute_output_shape((None, 3, 4)) == (None, 3, 4)


def test_attributes_of_before_warn_and_work():
    layer = FakeQuantize(fixed_range=(0.0, 2.55))
    with pytest.warns(FutureWarning, match="The attribute step is now scale"):
        assert layer.step == layer.scale == pytest.approx(0.01)
    dense = QuantizedDense(2)
    dense.build((None, 3))
    with pytest.warns(FutureWarning, match="The attribute weight_steps is now weight_scales"):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(dense.weight_steps),
            keras.ops.convert_to_numpy(dense.weight_scales),
        )


def test_saving_does_not_warn_of_a_name_of_before(tmp_path):
    """Keras reads every attribute that `dir` lists when it saves a layer."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, FakeQuantize(name="range")(QuantizedDense(2)(inputs)))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model.save(tmp_path / "model.keras")
    assert [str(w.message) for w in found if w.category is FutureWarning] == []
    with pytest.warns(FutureWarning, match="step is now scale"):
        model.get_layer("range").step  # noqa: B018
