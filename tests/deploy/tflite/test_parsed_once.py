"""Each content of a file is parsed once, however many parts of kdl read it."""

import shutil

import keras
import numpy as np
import pytest

from kdl.data import ModelInfo
from kdl.deploy import export_tflite, verify_tflite
from kdl.deploy.tflite import file
from kdl.deploy.tflite.file import parse_tflite, parsed_once, read_tflite
from kdl.deploy.tflite.graph import read_operations
from kdl.deploy.tflite.metadata import find_info, write_metadata


@pytest.fixture
def parsed(monkeypatch):
    """Contents that were parsed, in order."""
    contents, parse = [], file._parse

    def counted(buffer, schema):
        contents.append(buffer)
        return parse(buffer, schema)

    monkeypatch.setattr(file, "_parse", counted)
    return contents


@pytest.fixture
def path(root, tmp_path):
    return shutil.copy(root / "saved_models" / "quickstart" / "int8.tflite", tmp_path)


def small():
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    return keras.Model(inputs, x)


def test_one_content_is_parsed_once_within_the_scope_alone(parsed, path):
    with parsed_once():
        assert read_tflite(path) == read_tflite(path)
        read_operations(path)
        find_info(path)
        assert parse_tflite(path) is parse_tflite(path)
    assert len(parsed) == 1
    assert parse_tflite(path) is not parse_tflite(path)
    assert len(parsed) == 3


def test_a_file_that_changes_within_the_scope_is_parsed_again(parsed, path):
    with parsed_once():
        before = read_tflite(path)
        model = parse_tflite(path)
        entries, buffers = len(model.metadata), len(model.buffers)
        write_metadata(path, ModelInfo([f"class {i}" for i in range(10)]))
        assert (len(model.metadata), len(model.buffers)) == (entries, buffers)
        assert find_info(path).labels[3] == "class 3"
        assert read_tflite(path).size != before.size
    assert len(parsed) == 2


@pytest.mark.export
@pytest.mark.parametrize(("labels", "contents"), [(None, 1), (list("abcd"), 2)])
def test_export_parses_the_file_once_as_converted_and_once_with_its_metadata(
    parsed, tmp_path, labels, contents
):
    target, model = tmp_path / "model.tflite", small()
    assert export_tflite(model, target, labels=labels).passed
    assert len(parsed) == contents
    images = np.random.default_rng(0).random((2, 8, 8, 3)).astype("float32")
    assert verify_tflite(target, model, images).passed
    assert len(parsed) == contents + 1
