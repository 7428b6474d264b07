import keras
import numpy as np
import pytest

from kdl.layers import ChannelShuffle
from kdl.testing import run_layer_test


def shuffled(layer, x):
    n, h, w, c = x.shape
    return x.reshape(n, h, w, layer.groups, c // layer.groups).swapaxes(3, 4).reshape(x.shape)


@pytest.mark.parametrize("mode", ["reshape", "conv1x1"])
def test_layer(mode):
    run_layer_test(
        ChannelShuffle,
        {"groups": 3, "mode": mode},
        (2, 4, 5, 12),
        expected_output_shape=(2, 4, 5, 12),
        reference=shuffled,
    )


@pytest.mark.export
@pytest.mark.parametrize(
    ("mode", "operations"),
    [("reshape", {"RESHAPE": 3, "TRANSPOSE": 2}), ("conv1x1", {"CONV_2D": 1})],
)
def test_exports_to_rank_4_operations(mode, operations, tmp_path):
    from kdl.deploy import export_tflite, read_tflite

    inputs = keras.Input((4, 6, 12))
    model = keras.Model(inputs, ChannelShuffle(3, mode)(inputs))
    x = np.random.default_rng(0).standard_normal((8, 4, 6, 12)).astype("float32")
    export_tflite(model, tmp_path / "model.tflite", "int8", x)
    summary = read_tflite(tmp_path / "model.tflite")
    assert summary.largest_rank <= 4
    assert dict(summary.operations) == operations


def test_bad_arguments():
    with pytest.raises(ValueError, match="mode must be"):
        ChannelShuffle(2, mode="gather")
    with pytest.raises(ValueError, match="groups=5 does not divide"):
        ChannelShuffle(5)(np.zeros((1, 2, 2, 12), "float32"))
    with pytest.raises(ValueError, match="groups must be a positive integer"):
        ChannelShuffle(0)(np.zeros((1, 2, 2, 12), "float32"))
