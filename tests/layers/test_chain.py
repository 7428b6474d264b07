import keras
import numpy as np
import pytest

from kdl.layers import BatchNormalization, Conv2D, DepthwiseConv2D, GroupedConv2D
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._layer_factory import LayerFactory
from kdl.ops import lowering_scope
from kdl.testing._gradients import gradients


def make_chain(padding="symmetric", data_format="channels_last", dtype="float32"):
    """A block's layers, with weights none of which is at its initial value."""
    factory = LayerFactory(padding, data_format, keras.DTypePolicy(dtype), epsilon=0.1)
    chain = [
        *factory.conv(8, 3, "first", strides=2),
        factory.norm("first_bn"),
        factory.relu("first_relu"),
        *factory.depthwise(3, "depthwise", strides=2),
        factory.norm("depthwise_bn"),
        factory.relu("depthwise_relu", 6.0),
        *factory.conv(12, 3, "grouped", groups=4, use_bias=True),
        factory.norm("grouped_bn"),
        *factory.conv(5, 1, "last", use_bias=True, activation="sigmoid"),
        factory.norm("last_bn"),
    ]
    build_chain(chain, image(data_format).shape)
    rng = np.random.default_rng(0)
    for layer in chain:
        layer.set_weights([_values(rng, w) for w in layer.weights])
    return chain


def _values(rng, weight):
    if weight.name == "kernel":  # small, so that the sigmoid at the end is not saturated
        return 0.3 * rng.standard_normal(weight.shape)
    return rng.uniform(0.5, 1.5, weight.shape)


def to_numpy(x):
    return keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))


def image(data_format="channels_last"):
    x = np.random.default_rng(1).standard_normal((2, 9, 10, 4)).astype("float32")
    return x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)


def one_by_one(chain, x, training):
    for layer in chain:
        norm = isinstance(layer, keras.layers.BatchNormalization)
        x = layer(x, training=training) if norm else layer(x)
    return x


@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_equals_its_layers_one_by_one(padding, data_format, training):
    if data_format == "channels_first" and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no channels_first convolution on CPUs")
    results = []
    for run in (run_chain, one_by_one):
        chain = make_chain(padding, data_format)
        x = keras.ops.convert_to_tensor(image(data_format))
        outputs = to_numpy(run(chain, x, training))
        statistics = [w for layer in chain for w in layer.get_weights()]
        results.append([outputs, *statistics])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_equal_those_of_its_layers(training):
    actual = []
    for run in (run_chain, one_by_one):
        chain = make_chain()
        variables = [v for layer in chain for v in layer.trainable_variables]
        by_weight, by_input = gradients(
            lambda x, run=run, chain=chain: run(chain, x, training), variables, image()
        )
        actual.append([*by_weight, *by_input])
    # In training batch norm cancels a bias, of whose gradient rounding remains.
    least = 0.01 * max(np.abs(expected).max() for expected in actual[1])
    for ours, expected in zip(*actual, strict=True):
        scale = max(np.abs(expected).max(), least)
        np.testing.assert_allclose(ours / scale, expected / scale, atol=1e-4)


def test_the_input_is_not_written_over():
    x = keras.ops.convert_to_tensor(image())
    run_chain([keras.layers.ReLU()], x)
    run_chain(make_chain(), x)
    np.testing.assert_array_equal(to_numpy(x), image())


@pytest.mark.parametrize("training", [True, False])
def test_mixed_precision(training):
    chain = make_chain(dtype="mixed_bfloat16")
    x = keras.ops.cast(image(), "bfloat16")
    y = run_chain(chain, x, training)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    expected = to_numpy(one_by_one(make_chain(), keras.ops.cast(x, "float32"), training))
    np.testing.assert_allclose(to_numpy(y), expected, atol=0.05 * np.abs(expected).max())


def test_a_layer_of_another_dtype_casts():
    conv = Conv2D(8, 3, data_format="channels_last", dtype="mixed_bfloat16")
    conv.build((2, 9, 10, 4))
    y = run_chain([conv], keras.ops.convert_to_tensor(image()))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_a_layer_in_between_changes_the_dtype():
    conv = Conv2D(8, 3, data_format="channels_last", dtype="mixed_bfloat16")
    last = Conv2D(3, 1, data_format="channels_last", dtype="float32")
    build_chain([conv, last], (2, 9, 10, 4))
    x = keras.ops.convert_to_tensor(image())
    y = run_chain([conv, last], x)
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(y), to_numpy(one_by_one([conv, last], x, False)))


def test_a_depthwise_kernel_of_several_filters_is_folded():
    chain = [
        DepthwiseConv2D(3, depth_multiplier=2, data_format="channels_last"),
        BatchNormalization(epsilon=0.1),
    ]
    build_chain(chain, (2, 9, 10, 4))
    chain[1].set_weights([np.random.default_rng(0).uniform(0.5, 1.5, (4, 8))[i] for i in range(4)])
    x = keras.ops.convert_to_tensor(image())
    expected = to_numpy(one_by_one(chain, x, False))
    np.testing.assert_allclose(to_numpy(run_chain(chain, x)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="hooks are PyTorch's")
def test_hooks_are_called():
    chain, seen = make_chain(), []
    for layer in chain:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(module.name))
    x = keras.ops.convert_to_tensor(image())
    y = run_chain(chain, x, False)
    assert seen == [layer.name for layer in chain]
    np.testing.assert_allclose(to_numpy(y), to_numpy(run_chain(make_chain(), x)), rtol=1e-4)


def test_scopes_of_lowering_are_kept(monkeypatch):
    """Within `"device"` a convolution that mobile GPUs get wrong is split."""
    parts = []
    split = keras.ops.split
    monkeypatch.setattr(
        keras.ops, "split", lambda x, n, axis: parts.append(n) or split(x, n, axis=axis)
    )
    conv = GroupedConv2D(36, 3, groups=2, data_format="channels_last")
    conv.build((2, 9, 10, 36))
    with lowering_scope("device"):
        run_chain([conv], np.zeros((2, 9, 10, 36), "float32"))
    assert parts == [2, 2]  # the images and the kernel
