import hashlib
import json
import os
import resource
import signal

import numpy as np
import pytest

from kdl.data import InputSpec, ModelInfo
from kdl.deploy import TFLiteRunner, write_metadata, write_sidecar


@pytest.fixture
def path(root, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes((root / "saved_models" / "quickstart" / "int8.tflite").read_bytes())
    return path


def read(path):
    with open(path) as file:
        return json.load(file)


def test_all_that_an_application_needs(path):
    spec = InputSpec((48, 48), mean=(0.5, 0.25, 0.5), std=(0.5, 0.5, 0.25))
    write_metadata(path, ModelInfo([*"äbcdefghij"], spec), "digits")
    target = write_sidecar(path)
    assert target == f"{path}.json"
    assert sorted(os.listdir(path.parent)) == ["m.tflite", "m.tflite.json"]
    content = read(target)
    [image], [scores] = content.pop("inputs"), content.pop("outputs")
    assert content == {
        "name": "digits",
        "file": "m.tflite",
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "kind": "int8",
        "labels": [*"äbcdefghij"],
    }
    assert image == {
        "name": "image",
        "shape": [1, 48, 48, 3],
        "dtype": "int8",
        "quantization": {"scale": pytest.approx(1 / 255), "zero_point": -128},
        "layout": "NHWC",
        "color": "rgb",
        "mean": [0.5, 0.25, 0.5],
        "std": [0.5, 0.5, 0.25],
        "range": [-2.0, 2.0],
    }
    assert scores == {
        "name": "probabilities",
        "shape": [1, 10],
        "dtype": "int8",
        "quantization": {"scale": 1 / 256, "zero_point": -128},
    }


def test_its_numbers_are_enough_to_run_the_file(path):
    """By hand, as an application in another language does it, against kdl's runner."""
    from ai_edge_litert.interpreter import Interpreter

    content = read(write_sidecar(path))
    [image], [scores] = content["inputs"], content["outputs"]
    pixels = np.random.default_rng(0).integers(0, 256, image["shape"], "uint8")
    real = (pixels / np.float32(255) - np.float32(image["mean"])) / np.float32(image["std"])
    stored = np.round(real / image["quantization"]["scale"]) + image["quantization"]["zero_point"]
    interpreter = Interpreter(str(path))
    run = interpreter.get_signature_runner()
    raw = run(**{image["name"]: np.clip(stored, -128, 127).astype(image["dtype"])})
    answer = raw[scores["name"]].astype("float32") - scores["quantization"]["zero_point"]
    np.testing.assert_allclose(
        answer * scores["quantization"]["scale"], TFLiteRunner(path).predict(real)[0], atol=1e-6
    )


def test_a_float_file_that_says_nothing(root, tmp_path):
    path = tmp_path / "plain.tflite"
    content = (root / "saved_models" / "quickstart" / "float32.tflite").read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    content = read(write_sidecar(path))
    assert content["kind"] == "float32"
    assert content["name"] == "plain"
    assert content["labels"] is None
    [image] = content["inputs"]
    assert image == {
        "name": "image",
        "shape": [1, 48, 48, 3],
        "dtype": "float32",
        "quantization": None,
    }


def test_a_full_disk_leaves_what_was_there(path):
    """A limit on the size of files stands for the disk."""
    target = path.with_name("m.tflite.json")
    target.write_text("earlier")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, old[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_sidecar(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert target.read_text() == "earlier"
    assert sorted(os.listdir(path.parent)) == ["m.tflite", "m.tflite.json"]


def test_bad_files(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        write_sidecar(tmp_path / "missing.tflite")
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match="damaged or truncated"):
        write_sidecar(path)
    assert os.listdir(tmp_path) == ["m.tflite"]


def test_scale_without_a_finite_range_is_an_error_that_names_the_file(path, monkeypatch):
    told = ModelInfo(None, InputSpec((48, 48), std=(1e-320,) * 3))
    monkeypatch.setattr("kdl.deploy.tflite.sidecar.find_info", lambda path: told)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"m\.tflite is damaged"):
        write_sidecar(path)
