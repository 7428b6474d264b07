import keras
import numpy as np
import pytest

from kdl.layers import DilatedContext
from kdl.layers.blocks._context_identity import ContextIdentity
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def image(size=40, channels=3):
    return np.random.default_rng(0).uniform(0, 1, (1, size, size, channels)).astype("float32")


def test_basic_size_starts_as_the_identity():
    layer = DilatedContext(data_format="channels_last")
    np.testing.assert_array_equal(to_numpy(layer(image(12))), image(12))


def test_large_size_starts_as_the_identity_with_noise():
    layer = DilatedContext("large", seed=0, data_format="channels_last")
    layer.build(image(12).shape)
    widths = [conv.filters for conv in layer.chain[0::2]]
    assert widths == [6, 6, 12, 24, 48, 96, 96, 3]
    for conv in layer.chain[0::2]:
        kernel = conv.get_weights()[0]
        exact = to_numpy(ContextIdentity(3)(kernel.shape))
        noise = kernel[exact == 0]
        assert noise.size < 100 or 0.008 < noise.std() < 0.012
        np.testing.assert_array_equal(kernel[exact != 0], exact[exact != 0])
        conv.kernel.assign(exact)
    np.testing.assert_allclose(to_numpy(layer(image(12))), image(12), atol=1e-6)


@pytest.mark.parametrize(
    ("dilations", "field"), [((1, 1, 2, 4, 8, 16, 1), 67), ((1, 2), 7), ((1, 1, 2, 4, 8), 33)]
)
def test_receptive_field(dilations, field):
    """A change of one pixel is seen exactly as far as the field reaches."""
    layer = DilatedContext(dilations=dilations, data_format="channels_last")
    assert layer.receptive_field == field
    x = np.ones((1, 75, 75, 1), "float32")
    layer.build(x.shape)
    layer.set_weights([np.ones_like(w) / 9 if w.ndim == 4 else w for w in layer.get_weights()])
    changed = x.copy()
    changed[0, 37, 37, 0] = 2
    seen = np.nonzero(to_numpy(layer(changed)) - to_numpy(layer(x)))[1]
    assert (seen.min(), seen.max()) == (37 - field // 2, 37 + field // 2)


def test_single_dilation_matches_the_definition():
    layer = DilatedContext(dilations=(2,), data_format="channels_last")
    x = image(9, 1)
    layer.build(x.shape)
    kernel = np.random.default_rng(1).uniform(0, 1, (3, 3, 1, 1)).astype("float32")
    layer.chain[0].set_weights([kernel, np.zeros(1)])
    padded = np.pad(x[0, :, :, 0], 2)
    expected = sum(
        kernel[i, j, 0, 0] * padded[2 * i : 2 * i + 9, 2 * j : 2 * j + 9]
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(to_numpy(layer(x))[0, :, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("size", ["basic", "large"])
def test_layer(size):
    run_layer_test(
        DilatedContext,
        {"size": size, "dilations": (1, 2), "seed": 0},
        (2, 8, 8, 2),
        expected_output_shape=(2, 8, 8, 2),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "huge"}, "size must be one of 'basic', 'large'"),
        ({"dilations": (1, 0)}, "each of dilations must be a positive integer; received 0"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        DilatedContext(**arguments)
