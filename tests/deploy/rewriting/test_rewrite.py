import keras
import numpy as np
import pytest
from keras import ops

from kdl.deploy import check, export_tflite, rewrite_for
from kdl.layers import ChannelShuffle, GroupedConv2D, ShuffleUnit

SHAPE = (8, 8, 12)
SPLIT = "convolutions without groups"
PERMUTED = "a 1×1 permutation convolution"


def shuffled(x, groups, rank):
    *sides, channels = x.shape[1:]
    pixels = sides if rank == 5 else [sides[0] * sides[1]]
    apart = ops.reshape(x, (-1, *pixels, groups, channels // groups))
    order = (*range(rank - 2), rank - 1, rank - 2)
    return ops.reshape(ops.transpose(apart, order), (-1, *sides, channels))


def shuffled_by_planes(x):
    """In three transposes, as other tools write it."""
    planes = ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (-1, 3, 4, 64))
    planes = ops.reshape(ops.transpose(planes, (0, 2, 1, 3)), (-1, 12, 8, 8))
    return ops.transpose(planes, (0, 2, 3, 1))


def met(x):
    """A split whose parts only meet each other."""
    return ops.add(*ops.split(x, 2, axis=-1))


def conv(**arguments):
    return keras.layers.Conv2D(8, 3, **arguments)


def grouped(groups, **arguments):
    return keras.layers.Conv2D(12, 3, groups=groups, **arguments)


SIDES = ((0, 0), (1, 1), (1, 1), (0, 0))


def around(x, fill):
    return ops.pad(x, SIDES, constant_values=fill)


def below_zero(x):
    return ops.negative(ops.relu(x))


def zeros_seen_twice(x):
    x = around(ops.relu(x), 0.0)
    return ops.add(ops.max_pool(x, 3, 3), K.Conv2D(12, 3, 3)(x))


K = keras.layers
APART = "a product by 1 + 2⁻²³ after the padding"
SHIFTED = "x - c, padding by zeros, x + c"
STEPS = "a slice with steps before it"
LOWEST = "padding by the lowest number"

# Name → (function of the image, target, what it becomes).
CASES = {
    "average of zeros around": (
        lambda x: K.AveragePooling2D(3, 1)(K.ZeroPadding2D(1)(x)),
        "gpu",
        [APART],
    ),
    "average of pixels": (lambda x: K.AveragePooling2D(3, 1)(x), "gpu", []),
    "maximum of zeros around": (
        lambda x: K.MaxPooling2D(3, 2)(K.ZeroPadding2D(1)(below_zero(x))),
        "gpu",
        [APART],
    ),
    "maximum of zeros around a relu": (
        lambda x: ops.max_pool(around(ops.relu(x), 0.0), 3, 2),
        "gpu",
        [],
    ),
    "maximum of numbers around a relu": (
        lambda x: ops.max_pool(around(ops.relu(x), 5.0), 3, 2),
        "gpu",
        [APART],
    ),
    "maximum of −∞ around": (lambda x: ops.max_pool(around(x, -1e38), 3, 2), "gpu", []),
    "conv of numbers around": (lambda x: K.Conv2D(4, 3)(around(x, 5.0)), "gpu", [SHIFTED]),
    "depthwise of numbers around": (
        lambda x: K.DepthwiseConv2D(3)(around(x, -5.0)),
        "gpu",
        [SHIFTED],
    ),
    "conv of zeros around": (lambda x: K.Conv2D(4, 3)(around(x, 0)), "gpu", []),
    "1×1 with strides": (K.Conv2D(8, 1, 2), "gpu", [STEPS]),
    "1×1 with strides in groups": (K.Conv2D(6, 1, 3, groups=2), "gpu", [STEPS, SPLIT]),
    "3×3 with strides": (K.Conv2D(8, 3, 2), "gpu", []),
    "groups of 6": (grouped(2, name="c"), "gpu", [SPLIT]),
    "groups of 1 together": (grouped(12), "gpu", [SPLIT]),
    "groups of 3 with strides": (grouped(4, strides=2, padding="same"), "gpu", [SPLIT]),
    "groups without bias": (grouped(2, use_bias=False), "gpu", [SPLIT]),
    "groups of 4": (grouped(3), "gpu", []),
    "1×1 in groups of 4": (K.Conv2D(12, 1, groups=3), "gpu", [SPLIT]),
    "groups of 4 on the Edge TPU": (grouped(3), "edgetpu", [SPLIT]),
    "groups of kdl's": (GroupedConv2D(12, 3, groups=2, dilation_rate=2), "gpu", [SPLIT]),
    "shuffle of 5 axes": (lambda x: shuffled(x, 3, 5), "gpu", ["a shuffle of four axes"]),
    "shuffle of 4 axes": (lambda x: shuffled(x, 3, 4), "gpu", []),
    "shuffle on the Edge TPU": (lambda x: shuffled(x, 3, 4), "edgetpu", [PERMUTED]),
    "wide shuffle on the Edge TPU": (lambda x: shuffled(x, 4, 5), "edgetpu", [PERMUTED]),
    "shuffle by planes": (shuffled_by_planes, "edgetpu", [PERMUTED]),
    "kdl's shuffle": (ChannelShuffle(2), "edgetpu", [PERMUTED]),
    "parts that meet": (met, "gpu", ["slices"]),
    "a single part": (lambda x: ops.split(x, 1, axis=-1)[0], "gpu", ["what it splits"]),
    "sum from the end": (
        lambda x: ops.cumsum(x, axis=-1),
        "gpu",
        ["an axis counted from the front"],
    ),
    "sum from the front": (lambda x: ops.cumsum(x, axis=3), "gpu", []),
    "log-softmax": (ops.log_softmax, "gpu", ["z + log(1 / sum(exp(z)))"]),
    "steps": (lambda x: x[:, ::2, ::2], "edgetpu", ["a 1×1 pooling with strides"]),
    "steps from 1": (lambda x: x[:, 1::2, :7:3, :], "edgetpu", ["a 1×1 pooling with strides"]),
    "no steps": (lambda x: x[:, 1:, :7], "edgetpu", []),
    "hard-swish": (conv(activation="hard_silu"), "edgetpu", ["x / 6 · relu6(x + 3)"]),
    "hard-swish operation": (ops.hard_silu, "edgetpu", ["x / 6 · relu6(x + 3)"]),
    "hard-swish layer": (
        keras.layers.Activation("hard_swish"),
        "edgetpu",
        ["x / 6 · relu6(x + 3)"],
    ),
    "leaky ReLU": (keras.layers.LeakyReLU(0.3), "edgetpu", ["PReLU with constant slopes"]),
    "leaky activation": (
        conv(activation="leaky_relu"),
        "edgetpu",
        ["PReLU with constant slopes"],
    ),
    "dense on pixels": (keras.layers.Dense(5, "relu"), "edgetpu", ["a 1×1 convolution"]),
    "maximum over zeros on a processor": (
        lambda x: K.MaxPooling2D(3, 2)(K.ZeroPadding2D(((1, 0), (0, 1)))(K.ReLU()(x))),
        "cpu",
        [LOWEST],
    ),
    "two maxima over zeros on a processor": (
        lambda x: ops.add(*(ops.max_pool(y, 3, 2) for y in [around(ops.relu6(x), 0)] * 2)),
        "cpu",
        [LOWEST],
    ),
    "maximum over zeros around less": (
        lambda x: K.MaxPooling2D(3, 2)(K.ZeroPadding2D(1)(x)),
        "cpu",
        [],
    ),
    "maximum over zeros around leaky numbers": (
        lambda x: K.MaxPooling2D(3, 2)(K.ZeroPadding2D(1)(K.ReLU(negative_slope=0.1)(x))),
        "cpu",
        [],
    ),
    "maximum over ones": (lambda x: ops.max_pool(around(ops.relu(x), 1.0), 3, 2), "cpu", []),
    "maximum over edges": (
        lambda x: ops.max_pool(ops.pad(ops.relu(x), SIDES, mode="reflect"), 3, 2),
        "cpu",
        [],
    ),
    "zeros that a convolution sees, too": (zeros_seen_twice, "cpu", []),
    "zeros that are the maximum of a corner": (
        lambda x: K.MaxPooling2D(2)(K.ZeroPadding2D(2)(K.ReLU()(x))),
        "cpu",
        [],
    ),
    "zeros in channels of their own": (
        lambda x: ops.max_pool(ops.pad(ops.relu(x), ((0, 0), (1, 1), (1, 1), (0, 3))), 3, 2),
        "cpu",
        [],
    ),
    "both": (
        grouped(3, activation="hard_silu"),
        "edgetpu",
        [SPLIT, "x / 6 · relu6(x + 3)"],
    ),
}


def network(function):
    """Convolutions around it, so that an int8 file has ranges to find."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(12, 1, name="before", bias_initializer="random_normal")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(6, 1, name="after")(function(x)))


def images(count=4):
    return np.random.default_rng(0).standard_normal((count, *SHAPE)).astype("float32")


def outputs(model, x):
    return ops.convert_to_numpy(model(x))


def fresh(function):
    """A layer like this one, for each test anew; functions as they are.

    Names that Keras gave are given anew: it may have begun to count again since.
    """
    if isinstance(function, keras.layers.Layer):
        config = function.get_config()
        name = config["name"] if config["name"] == "c" else None
        return type(function).from_config({**config, "name": name})
    return function


@pytest.fixture(params=CASES)
def case(request):
    function, target, forms = CASES[request.param]
    return network(fresh(function)), target, forms


def test_exact_forms_keep_the_outputs(case):
    model, target, forms = case
    rewritten, rewrites = rewrite_for(model, target)
    assert [r.form for r in rewrites[: len(forms)]] == forms
    assert all(r.form in forms for r in rewrites)
    assert all(r.exact and "exact" in str(r) for r in rewrites)
    x = images()
    expected = outputs(model, x)
    np.testing.assert_allclose(outputs(rewritten, x), expected, atol=2e-6 * np.ptp(expected))
    assert rewrite_for(rewritten, target)[1] == []


@pytest.mark.parametrize("activation", ["softmax", lambda x: x - ops.max(x, -1, keepdims=True)])
@pytest.mark.parametrize("target", ["gpu", "edgetpu"])
def test_an_activation_over_all_channels_stays_one(target, activation):
    x = inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(40, 1)(x)
    x = keras.layers.Conv2D(80, 1, groups=2, activation=activation)(x)
    model = keras.Model(inputs, x)
    rewritten, rewrites = rewrite_for(model, target)
    assert [rewrite.form for rewrite in rewrites] == [SPLIT]
    x = images()
    np.testing.assert_allclose(outputs(rewritten, x), outputs(model, x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_log_softmax_keeps_its_axis(axis):
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, ops.log_softmax(inputs, axis=axis))
    rewritten, rewrites = rewrite_for(model, "gpu")
    assert [rewrite.exact for rewrite in rewrites] == [True]
    x = images()
    np.testing.assert_allclose(outputs(rewritten, x), outputs(model, x), rtol=1e-4, atol=1e-5)


def test_an_inexact_form_says_how_far_it_is_off():
    model = network(conv(activation="gelu"))
    rewritten, [rewrite] = rewrite_for(model, "edgetpu")
    assert not rewrite.exact
    assert rewrite.difference == pytest.approx(0.0203, abs=1e-4)
    assert "not exact, up to 0.02 off" in str(rewrite)
    kernel = np.abs(model.get_layer("after").get_weights()[0]).sum(axis=2).max()
    difference = np.abs(outputs(rewritten, images()) - outputs(model, images())).max()
    assert 0 < difference <= rewrite.difference * kernel


def test_the_model_is_left_as_it_was_and_shares_nothing():
    model = network(grouped(2))
    x, before = images(), model.get_weights()
    expected = outputs(model, x)
    rewritten, _ = rewrite_for(model, "gpu")
    rewritten.set_weights([0 * w for w in rewritten.get_weights()])
    np.testing.assert_array_equal(outputs(model, x), expected)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_shared_layer_stays_shared():
    layer = keras.layers.Conv2D(12, 3, groups=2, padding="same")
    model = network(lambda x: layer(layer(x)))
    rewritten, rewrites = rewrite_for(model, "gpu")
    assert len(rewrites) == 2
    convolutions = [x for x in rewritten.layers if isinstance(x, keras.layers.Conv2D)]
    assert len(convolutions) == 3  # before, after, and the one that has both groups
    expected = outputs(model, images())
    found = outputs(rewritten, images())
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(expected))


def test_channels_first_groups():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow has no convolution with channels first on a processor")
    inputs = keras.Input((40, 6, 6))
    x = keras.layers.Conv2D(40, 3, groups=2, data_format="channels_first")(inputs)
    model = keras.Model(
        inputs, keras.layers.Conv2D(44, 1, groups=2, data_format="channels_first")(x)
    )
    rewritten, rewrites = rewrite_for(model, "edgetpu")
    assert len(rewrites) == 2
    image = np.random.default_rng(0).standard_normal((2, 40, 6, 6)).astype("float32")
    np.testing.assert_allclose(outputs(rewritten, image), outputs(model, image), atol=1e-5)


def test_what_looks_like_a_shuffle_and_is_none():
    """A transpose of rows and columns between two reshapes."""

    def turned(x):
        apart = ops.reshape(x, (-1, 8, 96))
        return ops.reshape(ops.transpose(apart, (0, 2, 1)), (-1, *SHAPE))

    assert rewrite_for(network(turned), "edgetpu")[1] == []


def test_a_shuffle_of_the_first_pixel_alone_is_none():
    """Rows and columns change places along with the channels."""

    def turned(x):
        apart = ops.transpose(ops.reshape(x, (-1, 8, 8, 3, 4)), (0, 2, 1, 4, 3))
        return ops.reshape(apart, (-1, *SHAPE))

    assert rewrite_for(network(turned), "edgetpu")[1] == []


def test_a_shuffle_across_images_is_none():
    """The batch may not be taken for one image: the second tells it from a shuffle of the first."""

    def turned(x):
        return ops.reshape(
            ops.transpose(ops.reshape(x, (-1, 64, 3, 4)), (1, 0, 3, 2)), (-1, *SHAPE)
        )

    assert rewrite_for(network(turned), "edgetpu")[1] == []


def test_a_unit_of_shufflenet():
    inputs = keras.Input((8, 8, 24))
    model = keras.Model(inputs, ShuffleUnit(24, groups=3)(inputs))
    rewritten, rewrites = rewrite_for(model, "edgetpu")
    assert [r.form for r in rewrites] == [SPLIT, PERMUTED, SPLIT]
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 24)).astype("float32")
    np.testing.assert_allclose(outputs(rewritten, x), outputs(model, x), atol=1e-5)


def test_unknown_target():
    with pytest.raises(ValueError, match=r"target must be one of \('gpu', 'edgetpu', 'cpu'\)"):
        rewrite_for(network(met), "npu")


@pytest.mark.long
@pytest.mark.export
@pytest.mark.parametrize(("target", "form"), [("gpu", "float32"), ("edgetpu", "int8")])
def test_the_file_of_a_rewritten_model_runs(target, form, tmp_path):
    """All cases of a target in one model, one beside the other; the converter undoes none."""
    parts = [function for function, aim, forms in CASES.values() if aim == target and forms]
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(12, 1, bias_initializer="random_normal")(inputs)
    model = keras.Model(inputs, [keras.layers.Conv2D(4, 1)(fresh(part)(x)) for part in parts])
    refused = []
    for stage in (model, rewrite_for(model, target)[0]):
        path = tmp_path / "model.tflite"
        export_tflite(stage, path, form, images(32))
        operations = check(path, target).operations
        refused.append([str(o) for o in operations if o.verdict != "runs"])
    assert len(refused[0]) >= len(parts) - 1  # a file of kdl's grouped convolution is safe anyway
    assert refused[1] == []


class Padded(keras.layers.Layer):
    """A layer that does not tell the shape that it gives."""

    def call(self, x):
        return keras.ops.pad(x, ((0, 0), (1, 1)))


@pytest.mark.every_backend
def test_a_product_with_a_number_is_not_sparse_for_the_layer_behind_it():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Padded()(keras.layers.Activation("hard_silu")(inputs)))
    rewritten, [change] = rewrite_for(model, "edgetpu")
    assert change.form == "x / 6 · relu6(x + 3)"
    x = np.float32([[-4, -1, 1, 4]])
    expected, actual = (keras.ops.convert_to_numpy(m(x)) for m in (model, rewritten))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_activation_that_is_shared_by_other_widths():
    inputs = keras.Input((8, 8, 3))
    shared = keras.layers.LeakyReLU(0.2)
    x = shared(keras.layers.Conv2D(8, 3)(inputs))
    model = keras.Model(inputs, shared(keras.layers.Conv2D(6, 3)(x)))
    rewritten, _ = rewrite_for(model, "edgetpu")
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(
        rewritten.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )
