"""Files that cannot be used: one clear error each, and nothing written."""

import shutil

import keras
import numpy as np
import pytest
from deploy.gpu_zoo import IMAGE, one

from kdl.data import InputSpec, ModelInfo
from kdl.deploy import (
    ImageClassifier,
    TFLiteRunner,
    benchmark,
    check,
    read_tflite,
    verify_tflite,
    write_metadata,
    write_sidecar,
)

NAMES = [f"class {n}" for n in range(10)]


def verify(path):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
    return verify_tflite(path, model, np.zeros((1, 8), "float32"))


def describe(path):
    return write_metadata(path, ModelInfo(NAMES, InputSpec((48, 48))))


READERS = {
    "read_tflite": read_tflite,
    "check": lambda path: check(path, "gpu"),
    "write_metadata": describe,
    "write_sidecar": write_sidecar,
}
RUNNERS = {
    "TFLiteRunner": TFLiteRunner,
    "ImageClassifier": ImageClassifier,
    "benchmark": benchmark,
    "verify_tflite": verify,
}
ALL = {**READERS, **RUNNERS}


@pytest.fixture(scope="module")
def good(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "int8.tflite"
    shutil.copy(root / "saved_models" / "quickstart" / "int8.tflite", path)
    describe(path)
    return path


def refused(use, path, message):
    before = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    with pytest.raises(ValueError, match=message) as caught:
        use(path)
    assert str(path) in str(caught.value)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5])
def test_truncated(use, share, good, tmp_path):
    path = tmp_path / "cut.tflite"
    content = good.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(use, path, "is damaged or truncated|is not a TFLite model")


@pytest.mark.parametrize("use", ALL.values(), ids=ALL)
def test_no_model(use, tmp_path):
    path = tmp_path / "image.tflite"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    refused(use, path, "is not a TFLite model: it lacks the mark TFL3")


@pytest.mark.parametrize("use", [ImageClassifier, write_sidecar])
def test_labels_cut_off(use, good, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(good.read_bytes()[:-8])
    refused(use, path, r"labels in labels\.txt that it speaks of are missing")


@pytest.mark.parametrize("use", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("operation", ["CUSTOM:Mystery", "NUMBER:4321"])
def test_unknown_operations(use, operation, tmp_path):
    path = one(operation, IMAGE, IMAGE)(tmp_path / "unknown.tflite")
    wanted = "Mystery" if "Mystery" in operation else "4321"
    refused(use, path, f"cannot be run by LiteRT.*{wanted}")


@pytest.mark.parametrize("operation", ["CUSTOM:Mystery", "NUMBER:4321"])
def test_unknown_operations_are_reported(operation, tmp_path):
    path = one(operation, IMAGE, IMAGE)(tmp_path / "unknown.tflite")
    assert operation.split(":")[1] in " ".join(read_tflite(path).operations)
    assert {o.verdict for o in check(path, "gpu").operations} <= {"refused", "unknown"}
