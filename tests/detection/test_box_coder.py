import json

import keras
import numpy as np
import pytest

from kdl.detection import BoxCoder

pytestmark = pytest.mark.every_backend


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_boxes.npz"))
    return arrays, json.loads(bytes(arrays["meta"]).decode())["cases"]


@pytest.mark.parametrize("case", range(4))
def test_offsets_and_boxes_are_those_of_torchvision(case, golden):
    arrays, cases = golden
    coder = BoxCoder(cases[case]["weights"])
    pairs = {
        "encoded": coder.encode(arrays["target"], arrays["source"]),
        "decoded": coder.decode(arrays["deltas"], arrays["source"]),
    }
    for name, values in pairs.items():
        expected = arrays[f"{name}_{case}"]
        error = np.abs(keras.ops.convert_to_numpy(values) - expected).max()
        assert error / expected.std() <= 5e-5, name


def test_config_and_bad_weights():
    coder = BoxCoder((10, 10, 5, 5))
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(coder))
    assert copy.get_config() == {"weights": (10.0, 10.0, 5.0, 5.0)}
    with pytest.raises(ValueError, match="weights must be four positive numbers"):
        BoxCoder((1, 1, 1))
