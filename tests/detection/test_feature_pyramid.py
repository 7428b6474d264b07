import keras
import numpy as np
import pytest

from kdl.detection import FeaturePyramid
from kdl.testing import run_export_test, run_layer_test

pytestmark = pytest.mark.every_backend

INPUTS = ("input_0", "input_1", "input_2")


@pytest.fixture(scope="module")
def golden(root):
    return np.load(root / "tests" / "golden" / "detection" / "ops_fpn.npz")


def weights_of(golden, name):
    """The reference's weights in the order of the layer's."""
    prefixes = [f"{kind}_blocks.{i}.0" for i in range(3) for kind in ("inner", "layer")]
    if name != "pool":
        prefixes += [f"{name}.extra_blocks.{level}" for level in ("p6", "p7")]
    arrays = []
    for prefix in prefixes:
        arrays += [golden[f"{prefix}.weight"].transpose(2, 3, 1, 0), golden[f"{prefix}.bias"]]
    return arrays


@pytest.mark.parametrize(
    ("name", "extra"), [("pool", "pool"), ("p6_from_p5", "p5"), ("p6_from_c5", "c5")]
)
def test_levels_are_those_of_torchvision(name, extra, golden):
    features = [golden[key] for key in INPUTS]
    pyramid = FeaturePyramid(4, extra, data_format="channels_last")
    pyramid.build([x.shape for x in features])
    for chain, values in zip(chains(pyramid), pairs(weights_of(golden, name)), strict=True):
        chain[-1].set_weights(values)
    levels = pyramid(features)
    assert len(levels) == (4 if extra == "pool" else 5)
    for number, level in enumerate(levels):
        expected = golden[f"{name}_{number}"]
        error = np.abs(keras.ops.convert_to_numpy(level) - expected).max() / expected.std()
        assert error <= 5e-5


def chains(pyramid):
    """Those with weights, level by level."""
    for lateral, output in zip(pyramid.laterals, pyramid.outputs_convs, strict=True):
        yield from (lateral, output)
    yield from (chain for chain in pyramid.extras if chain[-1].weights)


def pairs(arrays):
    return [arrays[i : i + 2] for i in range(0, len(arrays), 2)]


@pytest.mark.parametrize(
    "arguments", [{"extra": "c5"}, {"extra": "pool", "norm": True}, {"norm": False}]
)
@pytest.mark.parametrize(
    "side", [8, pytest.param(7, marks=pytest.mark.long_to_compile)]
)  # twice the next, and less
def test_layer(arguments, side):
    shapes = [(2, side, 8, 3), (2, 4, 4, 5), (2, 2, 2, 6)]
    widths = {None: 3, "pool": 4, "c5": 5}[arguments.get("extra")]
    run_layer_test(FeaturePyramid, {"filters": 4, **arguments}, shapes)
    levels = FeaturePyramid(4, **arguments, data_format="channels_last").compute_output_shape(
        shapes
    )
    assert [level[-1] for level in levels] == [4] * widths


def test_levels_of_one_size():
    """As of MobileNetV3 in torchvision, whose last two blocks have one stride."""
    features = [np.ones((1, 4, 4, 5), "float32"), np.ones((1, 4, 4, 7), "float32")]
    levels = FeaturePyramid(6, "pool", data_format="channels_last")(features)
    assert [tuple(x.shape) for x in levels] == [(1, 4, 4, 6), (1, 4, 4, 6), (1, 2, 2, 6)]


@pytest.mark.export
def test_exports():
    inputs = [keras.Input((side, side, 6)) for side in (8, 4, 2)]
    pyramid = FeaturePyramid(8, "p5", norm=True, data_format="channels_last")
    model = keras.Model(inputs, pyramid(inputs))
    rng = np.random.default_rng(0)
    run_export_test(model, [rng.normal(size=(40, *x.shape[1:])).astype("float32") for x in inputs])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ((1, 8, 8, 3), "Expected a list of features, finest first"),
        ([(1, 8, 8, 3), (1, 5, 4, 3)], r"each half as large.*\[\(8, 8\), \(5, 4\)\]"),
        ([], "Expected a list of features"),
        ([(1, None, 8, 3)], "whose height and width are known"),
    ],
)
def test_features_that_are_no_pyramid_raise(shapes, message):
    with pytest.raises(ValueError, match=message):
        FeaturePyramid(4, data_format="channels_last").build(shapes)


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="extra must be one of None, 'pool'"):
        FeaturePyramid(extra="p6")
    with pytest.raises(ValueError, match="filters must be a positive integer"):
        FeaturePyramid(0)
