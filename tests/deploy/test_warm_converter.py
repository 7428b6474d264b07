import importlib
import os
import signal
import sys

import keras
import pytest

from kdl.deploy import ExportError, export_tflite, warm_converter

pytestmark = pytest.mark.export

LAYER = """
import keras

@keras.saving.register_keras_serializable("written_by_a_test")
class Times(keras.layers.Layer):
    def call(self, x):
        return {factor} * x
"""


@pytest.fixture
def kept():
    """The process that the exports of all tests share."""
    return importlib.import_module("kdl.deploy.warm_converter")._kept


def test_exports_share_a_process(kept, network, tmp_path):
    processes = set()
    for kind in ("float32", "float16"):
        assert export_tflite(network, tmp_path / f"{kind}.tflite", kind).passed
        processes.add(kept._process.pid)
    with warm_converter():
        assert export_tflite(network, tmp_path / "again.tflite").passed
        processes.add(kept._process.pid)
    assert len(processes) == 1
    assert kept._process.poll() is None


def test_faults_are_told_as_by_a_process_of_its_own(kept, tmp_path):
    inputs = keras.Input((4,))
    with pytest.raises(ExportError, match=r"no built-in operation for .*[Ee]rfinv"):
        export_tflite(keras.Model(inputs, Erfinv()(inputs)), tmp_path / "m.tflite")
    assert os.listdir(tmp_path) == []
    network = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    assert export_tflite(network, tmp_path / "m.tflite").passed


@keras.saving.register_keras_serializable("kdl_tests")
class Erfinv(keras.layers.Layer):
    def call(self, x):
        return keras.ops.erfinv(x * 0.5)


def test_a_process_interrupted_or_killed_is_replaced_and_the_last_one_ended(
    own_process, network, tmp_path, monkeypatch
):
    module = importlib.import_module("kdl.deploy.warm_converter")
    with warm_converter():
        assert module._kept._process is None  # nothing is started for nothing
        assert export_tflite(network, tmp_path / "m.tflite").passed
        with monkeypatch.context() as patch:
            patch.setattr(module._kept._process, "stdout", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                export_tflite(network, tmp_path / "m.tflite")
        assert export_tflite(network, tmp_path / "m.tflite").passed
        os.kill(module._kept._process.pid, signal.SIGKILL)
        assert export_tflite(network, tmp_path / "m.tflite").passed
        last = module._kept._process
    assert last.returncode is not None
    assert module._kept is None


class Interrupted:
    """A pipe that is being read when the user presses Ctrl-C."""

    def readline(self):
        raise KeyboardInterrupt


def test_nothing_of_one_export_reaches_the_next(kept, tmp_path, monkeypatch):
    """A module that was changed and loaded again is the new one there too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "layer_of_a_test.py"
    for factor in (2, 3):
        path.write_text(LAYER.format(factor=factor))
        sys.modules.pop("layer_of_a_test", None)
        importlib.invalidate_caches()
        module = importlib.import_module("layer_of_a_test")
        inputs = keras.Input((4,))
        model = keras.Model(inputs, module.Times()(inputs))
        assert export_tflite(model, tmp_path / f"{factor}.tflite").passed
    sys.modules.pop("layer_of_a_test")
