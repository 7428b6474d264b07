import keras
import numpy as np
import pytest

from kdl.detection import LinearBoxCoder

pytestmark = pytest.mark.every_backend


def test_distances_and_boxes_are_those_of_torchvision(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_boxes.npz"))
    coder = LinearBoxCoder()
    pairs = {
        "linear_encoded": coder.encode(arrays["target"], arrays["source"]),
        "linear_decoded": coder.decode(np.abs(arrays["deltas"]), arrays["source"]),
    }
    for name, values in pairs.items():
        error = np.abs(keras.ops.convert_to_numpy(values) - arrays[name]).max()
        assert error / arrays[name].std() <= 5e-5, name


def test_decoding_undoes_encoding_of_a_batch():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 50, (2, 5, 2))
    boxes = np.concatenate([low, low + rng.uniform(1, 40, (2, 5, 2))], -1).astype("float32")
    anchors = np.concatenate([low[0], low[0] + 8], -1).astype("float32")
    coder = LinearBoxCoder()
    decoded = keras.ops.convert_to_numpy(coder.decode(coder.encode(boxes, anchors), anchors))
    np.testing.assert_allclose(decoded, boxes, atol=1e-4)


def test_serialized_coder_is_read_back():
    data = keras.saving.serialize_keras_object(LinearBoxCoder())
    assert type(keras.saving.deserialize_keras_object(data)) is LinearBoxCoder


def test_boxes_of_five_numbers_raise():
    with pytest.raises(ValueError, match="boxes must have four numbers"):
        LinearBoxCoder().encode(np.zeros((2, 5)), np.zeros((2, 4)))
