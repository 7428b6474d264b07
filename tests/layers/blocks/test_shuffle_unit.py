import keras
import numpy as np
import pytest

from kdl.layers.blocks.shuffle_unit import ShuffleUnit
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def reference(unit, x):
    """The unit as the paper defines it, in plain PyTorch, from the weights of `unit`."""
    import torch
    from torch.nn import functional as F

    layers = {layer.name: layer for layer in unit.main}
    x = torch.tensor(x.transpose(0, 3, 1, 2))

    def conv(x, name, groups):
        kernel = torch.tensor(to_numpy(layers[name].kernel).transpose(3, 2, 0, 1))
        return F.conv2d(x, kernel, groups=groups)

    def norm(x, name):
        layer = layers[f"{name}_bn"]
        keys = ("moving_mean", "moving_variance", "gamma", "beta")
        weights = (torch.tensor(to_numpy(getattr(layer, key))) for key in keys)
        return F.batch_norm(x, *weights, eps=1e-5)

    def shuffle(x):
        """Channels laid out in rows and read in columns; rows are groups, in Megvii's columns."""
        rows = x.shape[1] // unit.groups if unit.variant == "megvii" else unit.groups
        order = np.arange(x.shape[1]).reshape(rows, -1).T.ravel()
        return x[:, order.tolist()]

    kernel = torch.tensor(to_numpy(layers["depthwise"].kernel).transpose(2, 3, 0, 1))
    y = F.relu(norm(conv(x, "pointwise1", unit.groups if unit.group_first else 1), "pointwise1"))
    if unit.variant == "paper":
        y = shuffle(y)
    y = norm(F.conv2d(y, kernel, None, unit.strides, 1, groups=y.shape[1]), "depthwise")
    if unit.variant != "paper":
        y = shuffle(y)
    y = norm(conv(y, "pointwise2", unit.groups), "pointwise2")
    if unit.strides == 1 and x.shape[1] == unit.filters:
        y = F.relu(x + y)
    else:
        y = torch.cat([F.avg_pool2d(x, 3, unit.strides, 1), F.relu(y)], 1)
    return y.numpy().transpose(0, 2, 3, 1)


def test_layer():
    run_layer_test(
        ShuffleUnit,
        {"filters": 24, "groups": 2, "strides": 2, "group_first": False, "variant": "megvii"},
        (4, 5, 6, 12),
        expected_output_shape=(4, 3, 3, 24),
        reference=reference,
    )


@pytest.mark.parametrize(
    ("variant", "groups", "strides", "width"),
    [
        ("paper", 3, 2, 12),
        ("paper", 3, 1, 12),  # the width changes without a stride
        ("paper", 1, 2, 5),
        ("megvii", 3, 1, 24),
        ("mmpretrain", 3, 2, 12),
    ],
)
def test_outputs_with_randomized_statistics_match(variant, groups, strides, width):
    rng = np.random.default_rng(0)
    unit = ShuffleUnit(24, groups, strides, variant=variant, data_format="channels_last")
    x = rng.standard_normal((2, 6, 5, width)).astype("float32")
    unit.build(x.shape)
    unit.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in unit.get_weights()])
    np.testing.assert_allclose(to_numpy(unit(x)), reference(unit, x), rtol=1e-4, atol=1e-4)


def test_mmpretrain_variant_is_a_permutation_of_the_paper():
    paper, other = (
        ShuffleUnit(24, 3, variant=variant, data_format="channels_last")
        for variant in ("paper", "mmpretrain")
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 4, 24)).astype("float32")
    for unit in (paper, other):
        unit.build(x.shape)
    paper.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in paper.get_weights()])
    other.set_weights(paper.get_weights())
    depthwise, norm = other.main[3:5]
    for weight in (depthwise.kernel, *norm.weights):
        axis = 2 if len(weight.shape) == 4 else 0
        # Channel i after the paper's shuffle was channel [0, 2, 4, 1, 3, 5][i] before it.
        weight.assign(np.take(to_numpy(weight), np.argsort([0, 2, 4, 1, 3, 5]), axis))
    np.testing.assert_allclose(to_numpy(other(x)), to_numpy(paper(x)), rtol=1e-4, atol=1e-4)


@pytest.mark.export
def test_exports():
    run_layer_test(ShuffleUnit, {"filters": 16, "groups": 2}, (4, 6, 6, 16), deployable=True)


@pytest.mark.parametrize("padding", ["symmetric", "same"])
def test_dilated_unit_matches_every_second_pixel(padding):
    arguments = {"filters": 24, "groups": 3, "padding": padding, "data_format": "channels_last"}
    plain, dilated = ShuffleUnit(**arguments), ShuffleUnit(**arguments, dilation_rate=2)
    x = np.random.default_rng(0).standard_normal((2, 7, 6, 12)).astype("float32")
    expected = to_numpy(plain(x[:, ::2, ::2]))
    dilated.build(x.shape)
    dilated.set_weights(plain.get_weights())
    np.testing.assert_allclose(to_numpy(dilated(x))[:, ::2, ::2], expected, atol=1e-5)


def test_squeeze_excite_gates_the_main_branch_only():
    unit = ShuffleUnit(8, 1, 2, squeeze_ratio=2, data_format="channels_last")
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 3)).astype("float32")
    before = to_numpy(unit(x))
    unit.main[-1].expand.bias.assign(np.full(5, -100, "float32"))
    after = to_numpy(unit(x))
    np.testing.assert_array_equal(after[..., :3], before[..., :3])
    assert before[..., 3:].max() > 0.01 > 1e-6 > np.abs(after[..., 3:]).max()


@pytest.mark.parametrize("arguments", [{"strides": 2}, {"dilation_rate": 2}])
def test_symbolic_call_yields_the_inner_graph(arguments):
    unit = ShuffleUnit(24, 3, **arguments, data_format="channels_last")
    unit.build((None, 6, 6, 12))
    inputs = keras.Input((6, 6, 12))
    model = keras.Model(inputs, unit.call(inputs))
    assert {"pointwise1", "shuffle", "depthwise", "pointwise2"} <= {x.name for x in model.layers}
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 12)).astype("float32")
    np.testing.assert_allclose(*(to_numpy(f(x)) for f in (model, unit)), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 26}, r"a multiple of 4·groups, 12, .*; received 26. Nearest: 24 and 36"),
        ({"filters": 4}, r"received 4. Nearest: 12\."),
        ({"filters": 0}, "filters must be a positive integer"),
        ({"groups": 0}, "groups must be a positive integer; received 0"),
        ({"strides": 3}, "strides must be one of 1, 2"),
        ({"strides": 2, "dilation_rate": 2}, "With strides=2, dilation_rate must be 1"),
        ({"dilation_rate": 0}, "dilation_rate must be a positive integer"),
        ({"variant": "torchvision"}, "variant must be one of 'paper', 'megvii', 'mmpretrain'"),
        ({"padding": "valid"}, "padding must be"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleUnit(**{"filters": 24, "groups": 3, **arguments})


@pytest.mark.parametrize(
    ("strides", "width", "message"),
    [
        (2, 24, "fewer than filters=24; it has 24"),
        (1, 36, "fewer than filters=24; it has 36"),
        (2, 13, "groups=3 does not divide the channels of the input, 13. Nearest widths .* 12 and"),
        (1, None, "input channels must be known"),
    ],
)
def test_bad_input_width_raises(strides, width, message):
    unit = ShuffleUnit(24, 3, strides, data_format="channels_last")
    for method in (unit.build, unit.compute_output_shape):
        with pytest.raises(ValueError, match=message):
            method((None, 4, 4, width))
