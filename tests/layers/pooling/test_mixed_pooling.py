import keras
import numpy as np
import pytest
from golden import modules, torch_plain

from kdl.layers import MixedPooling
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def images(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def reference(block, x):
    """The module in plain PyTorch, the strips resized as the authors do."""
    import torch
    from torch.nn import functional as F

    _, bn = torch_plain.operations(block)
    kernels = {
        w.path.split("/")[-2]: torch.tensor(to_numpy(w)).permute(3, 2, 0, 1)
        for w in block.weights
        if w.name == "kernel"
    }

    def definition(x):
        size = x.shape[2:]

        def conv(x, name):
            kernel = kernels[f"{name}_conv"]
            padding = [side // 2 for side in kernel.shape[2:]]
            return bn(F.conv2d(x, kernel, None, 1, padding), f"{name}_bn")

        def up(x):
            return F.interpolate(x, size, mode="bilinear", align_corners=True)

        near, far = F.relu(conv(x, "near_reduce")), F.relu(conv(x, "far_reduce"))
        total = conv(near, "full")
        for index, cells in enumerate(block.pool_sizes, start=1):
            total = total + up(conv(F.adaptive_avg_pool2d(near, cells), f"grid{index}"))
        near = F.relu(conv(F.relu(total), "near_join"))
        down = up(conv(F.adaptive_avg_pool2d(far, (None, 1)), "down"))
        across = up(conv(F.adaptive_avg_pool2d(far, (1, None)), "across"))
        far = F.relu(conv(F.relu(down + across), "far_join"))
        return F.relu(x + conv(torch.cat([near, far], 1), "expand"))

    return torch_plain.apply(definition, x)


def test_layer():
    run_layer_test(
        MixedPooling,
        {"pool_sizes": (3, 2)},
        (4, 5, 6, 8),
        expected_output_shape=(4, 5, 6, 8),
        reference=reference,
    )


@pytest.mark.export
def test_exports():
    run_layer_test(MixedPooling, {"pool_sizes": (3, 2)}, (4, 6, 5, 16), deployable=True)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({}, (30, 25)),
        ({}, (12, 20)),
        ({"pool_sizes": (4, 4, 1), "ratio": 2}, (3, 5)),
        ({"pool_sizes": ()}, (4, 4)),
    ],
)
def test_parity_with_the_definition(arguments, size):
    """Grids that divide the map, that do not, that are larger than it; and none."""
    block = MixedPooling(**arguments, data_format="channels_last")
    x = images(2, *size, 8)
    block.build(x.shape)
    torch_plain.randomize(block)
    np.testing.assert_allclose(to_numpy(block(x)), reference(block, x), atol=2e-5)


# kdl's name → name in the authors' code; each is a convolution (0) and a batch norm (1).
NAMES = {
    "near_reduce": "conv1_1",
    "far_reduce": "conv1_2",
    "full": "conv2_0",
    "grid1": "conv2_1",
    "grid2": "conv2_2",
    "across": "conv2_3",
    "down": "conv2_4",
    "near_join": "conv2_5",
    "far_join": "conv2_6",
    "expand": "conv3",
}


def test_parity_with_the_authors_module():
    names = {f"{ours}_conv": f"{theirs}.0" for ours, theirs in NAMES.items()}
    names |= {f"{ours}_bn": f"{theirs}.1" for ours, theirs in NAMES.items()}
    block = MixedPooling(data_format="channels_last")
    modules.check_parity("mixed_pooling_module", block, names)


def test_parameters():
    layer = MixedPooling(data_format="channels_last")
    with keras.StatelessScope(initialize_variables=False):
        layer.build((None, 60, 60, 1024))
    assert sum(int(np.prod(w.shape)) for w in layer.trainable_weights) == 4_397_568
    keras.utils.clear_session()


def test_block_is_transparent():
    block = MixedPooling((3, 2), data_format="channels_last")
    block.build((None, 6, 5, 8))
    torch_plain.randomize(block)
    inputs = keras.Input((6, 5, 8))
    model = keras.Model(inputs, block.call(inputs))
    names = [layer.name for layer in model.layers if layer.name.endswith("_conv")]
    assert sorted(names) == sorted(f"{name}_conv" for name in NAMES)
    x = images(2, 6, 5, 8)
    np.testing.assert_allclose(to_numpy(model(x)), to_numpy(block(x)), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pool_sizes": (20, 0)}, "each of pool_sizes must be a positive integer; received 0"),
        ({"ratio": 0}, "ratio must be a positive integer; received 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MixedPooling(**arguments)


def test_ratio_must_divide():
    with pytest.raises(ValueError, match="ratio=4 does not divide the 6 channels"):
        MixedPooling(data_format="channels_last").build((None, 8, 8, 6))


def test_open_size():
    with pytest.raises(ValueError, match="MixedPooling needs a known height and width"):
        MixedPooling(data_format="channels_last")(keras.Input((None, None, 8)))


def test_one_size_is_no_tuple():
    with pytest.raises(ValueError, match="pool_sizes must be a tuple of integers; received 20"):
        MixedPooling(pool_sizes=20)
