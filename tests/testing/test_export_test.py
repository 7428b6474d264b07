import os
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from kdl.testing import run_export_test, run_layer_test


@dataclass
class Verification:
    passed: bool = True
    sqnr: float = 40.0
    cosine: float = 0.999


class ExportError(ValueError):
    pass


class Exporter:
    """Stands in for `kdl.deploy.export_tflite`, and keeps what it was given."""

    def __init__(self, verification=None, content=b"TFL3", error=None):
        self.verification = verification or Verification()
        self.content = content
        self.error = error
        self.given = []

    def __call__(self, model, path, quantization="float32", representative_data=None):
        self.given.append((model, path, quantization, representative_data))
        if self.error:
            raise self.error
        Path(path).write_bytes(self.content)
        return self.verification


@pytest.fixture
def export(monkeypatch):
    def install(**options):
        exporter = Exporter(**options)
        monkeypatch.setattr("kdl.deploy.export_tflite", exporter, raising=False)
        monkeypatch.setattr("kdl.deploy.ExportError", ExportError, raising=False)
        return exporter

    return install


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)], name="small")


def test_both_kinds_are_exported_and_removed(export, model):
    exporter = export()
    found = run_export_test(model)
    assert found == {"float32": Verification(), "int8": Verification()}
    assert [given[2] for given in exporter.given] == ["float32", "int8"]
    for given_model, path, _, data in exporter.given:
        assert given_model is model
        assert data.shape == (8, 4)
        assert not os.path.exists(path)


def test_given_data_and_kinds_are_passed_on(export, model):
    exporter = export()
    data = np.ones((3, 4), "float32")
    assert [*run_export_test(model, data, ["float16"])] == ["float16"]
    assert exporter.given[0][3] is data


def test_integer_inputs_get_integers(export):
    exporter = export()
    inputs = keras.Input((4,), dtype="int32")
    run_export_test(keras.Model(inputs, keras.layers.Embedding(2, 3)(inputs)))
    data = exporter.given[0][3]
    assert data.dtype == "int32"
    assert {*np.unique(data)} == {0, 1}


def test_failures_are_assertion_errors(export, model):
    export(error=ExportError("cosine too low"))
    with pytest.raises(AssertionError, match="small, export as float32: cosine too low"):
        run_export_test(model)
    export(verification=Verification(passed=False, sqnr=3.0, cosine=0.5))
    with pytest.raises(AssertionError, match=r"ratio of 3\.0 dB and a cosine of 0\.5"):
        run_export_test(model)
    export(content=b"")
    with pytest.raises(AssertionError, match="no file was written"):
        run_export_test(model)


def test_a_missing_exporter_is_an_import_error(export, model):
    export(error=ImportError("pip install tensorflow"))
    with pytest.raises(ImportError, match="pip install tensorflow"):
        run_export_test(model)


def test_misuse_is_a_value_error(export, model):
    export()
    with pytest.raises(ValueError, match="Expected one or more quantizations"):
        run_export_test(model, quantizations=())
    open_size = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Expected data, since the input shape"):
        run_export_test(open_size)


def test_every_input_gets_numbers_of_its_own(export):
    exporter = export()
    inputs = {name: keras.Input((4,), name=name) for name in "ab"}
    run_export_test(keras.Model(inputs, inputs["a"] - inputs["b"]))
    data = exporter.given[0][3]
    assert [data[name].shape for name in "ab"] == [(8, 4)] * 2
    assert np.any(data["a"] != data["b"])


# --- the real exporter --------------------------------------------------------------------------


@pytest.fixture
def exporters():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the tests of kdl.deploy export from every backend")
    pytest.importorskip("ai_edge_litert")


@pytest.mark.usefixtures("exporters")
def test_a_deployable_layer_passes():
    run_layer_test(
        keras.layers.Conv2D,
        {"filters": 4, "kernel_size": 3},
        (8, 6, 6, 3),
        mixed_precision=False,
        deployable=True,
    )


@pytest.mark.usefixtures("exporters")
def test_a_model_without_a_form_on_devices_is_caught():
    inputs = keras.Input((4, 4))
    outputs = keras.layers.Reshape((1,))(keras.ops.det(inputs))
    model = keras.Model(inputs, outputs, name="determinant")
    with pytest.raises(AssertionError, match="determinant, export as float32: "):
        run_export_test(model, quantizations=["float32"])
