import keras
import numpy as np
import pytest
from golden import modules, torch_plain

from kdl.layers import ResNeXtBlock, StripPooling
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def numpy_reference(layer, x):
    """The formula, written plainly: one pixel at a time."""
    weights = {
        "/".join(w.path.split("/")[-2:]): to_numpy(w).astype("float64") for w in layer.weights
    }

    def norm(y, name):
        gamma, beta, mean, variance = (
            weights[f"{name}/{key}"] for key in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (y - mean) / np.sqrt(variance + 1e-5) + beta

    def along(strip, name):
        """A strip `(length, C)`, convolved along itself with zeros beyond its ends."""
        kernel = weights[f"{name}_conv/kernel"].reshape(3, *strip.shape[1:], -1)
        padded = np.pad(strip, ((1, 1), (0, 0)))
        taps = [padded[t : t + len(strip)] @ kernel[t] for t in range(3)]
        return norm(sum(taps), f"{name}_bn")

    y = np.zeros_like(x)
    for image in range(len(x)):
        rows, columns = along(x[image].mean(1), "down"), along(x[image].mean(0), "across")
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                both = np.maximum(rows[i] + columns[j], 0)
                gate = both @ weights["gate/kernel"][0, 0] + weights["gate/bias"]
                y[image, i, j] = x[image, i, j] / (1 + np.exp(-gate))
    return y


def test_a_frozen_block_is_frozen():
    """Its sub-layers too, which are made later; and so is one within another block."""
    layers = [StripPooling(trainable=False), ResNeXtBlock(8, 1, 4, strip_pooling=True)]
    layers[1].trainable = False
    model = keras.Sequential([keras.Input((4, 4, 8)), *layers])
    assert model.trainable_variables == []
    before = model.get_weights()
    model(np.ones((2, 4, 4, 8), "float32"), training=True)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layer():
    run_layer_test(
        StripPooling,
        {},
        (4, 5, 3, 8),
        expected_output_shape=(4, 5, 3, 8),
        reference=numpy_reference,
    )


@pytest.mark.export
def test_exports():
    run_layer_test(StripPooling, {}, (4, 6, 5, 8), deployable=True)


def test_formula_with_random_weights():
    layer = StripPooling(data_format="channels_last")
    layer.build((None, 6, 4, 5))
    torch_plain.randomize(layer)
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 5)).astype("float32")
    np.testing.assert_allclose(to_numpy(layer(x)), numpy_reference(layer, x), atol=1e-5)


# kdl's name → name in the authors' code.
NAMES = {
    "down_conv": "spm.conv1",
    "down_bn": "spm.bn1",
    "across_conv": "spm.conv2",
    "across_bn": "spm.bn2",
    "gate": "spm.conv3",
}


def test_parity_with_the_authors_module():
    modules.check_parity("strip_pooling_module", StripPooling(data_format="channels_last"), NAMES)


@pytest.mark.parametrize(
    ("width", "parameters"), [(64, 28_992), (128, 115_328), (256, 460_032), (512, 1_837_568)]
)
def test_parameters(width, parameters):
    layer = StripPooling(data_format="channels_last")
    with keras.StatelessScope(initialize_variables=False):
        layer.build((None, None, None, width))
    assert sum(int(np.prod(w.shape)) for w in layer.trainable_weights) == parameters
    keras.utils.clear_session()


def test_gate_sees_its_row_and_column_only():
    """A changed pixel moves what shares a strip with it, or lies next to one, and nothing else."""
    layer = StripPooling(data_format="channels_last")
    layer.build((None, 9, 9, 2))
    torch_plain.randomize(layer)
    layer.down[-1].beta.assign([9.0, 9.0])  # the ReLU lets everything through
    x = np.random.default_rng(0).standard_normal((1, 9, 9, 2)).astype("float32")
    changed = x.copy()
    changed[0, 1, 1] += 3.0
    moved = np.abs(to_numpy(layer(changed)) - to_numpy(layer(x))).max((0, 3)) > 1e-6
    # The three taps widen each strip by one pixel on each side.
    near = np.arange(9) <= 2
    assert not moved[~near][:, ~near].any()
    assert moved[near].all()
    assert moved[:, near].all()


def test_block_is_transparent():
    layer = StripPooling(data_format="channels_last")
    layer.build((None, None, None, 4))
    torch_plain.randomize(layer)
    inputs = keras.Input((None, None, 4))
    model = keras.Model(inputs, layer.call(inputs))
    names = {each.name for each in model.layers}
    assert {"down_conv", "down_bn", "across_conv", "across_bn", "relu", "gate"} <= names
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 4)).astype("float32")
    results = [to_numpy(f(x)) for f in (model, layer)]
    np.testing.assert_allclose(*results, atol=1e-6)


def test_in_a_residual_block():
    """The block's `strip_pooling` gates what the 3×3 convolution gives, before the last 1×1."""
    block = ResNeXtBlock(8, 1, 4, strip_pooling=True, data_format="channels_last")
    block.build((None, 6, 5, 8))
    torch_plain.randomize(block)
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 8)).astype("float32")
    y = x
    for layer in [*block.branches[0], block.strips, *block.ends, block.bn3]:
        y = layer(y)
    np.testing.assert_allclose(to_numpy(block(x)), np.maximum(x + to_numpy(y), 0), atol=1e-5)


def test_open_width():
    with pytest.raises(ValueError, match="input channels must be known"):
        StripPooling(data_format="channels_last").build((None, 4, 4, None))
