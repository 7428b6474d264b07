import concurrent.futures
import importlib
import os
import signal
import subprocess
import sys
import time

import keras
import pytest

from kdl.deploy import ExportError, export_tflite, read_tflite, warm_converter
from kdl.deploy.exporting.warm_converter import shared

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
    return shared.worker


def test_exports_share_a_process(kept, network, tmp_path):
    processes = set()
    for kind in ("float32", "float16"):
        assert export_tflite(network, tmp_path / f"{kind}.tflite", kind).passed
        processes.add(kept.process.pid)
    with warm_converter():
        assert export_tflite(network, tmp_path / "again.tflite").passed
        processes.add(kept.process.pid)
    assert len(processes) == 1
    assert kept.process.poll() is None


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


@pytest.mark.long
def test_a_process_interrupted_or_killed_is_replaced_and_the_last_one_ended(
    own_process, network, tmp_path, monkeypatch
):
    with warm_converter():
        worker = shared.worker
        assert worker.process is None  # nothing is started for nothing
        assert export_tflite(network, tmp_path / "m.tflite").passed
        with monkeypatch.context() as patch:
            patch.setattr(worker.process, "stdout", Interrupted())
            with pytest.raises(KeyboardInterrupt):
                export_tflite(network, tmp_path / "m.tflite")
        assert export_tflite(network, tmp_path / "m.tflite").passed
        os.kill(worker.process.pid, signal.SIGKILL)
        assert export_tflite(network, tmp_path / "m.tflite").passed
        last = worker.process
    assert last.returncode is not None
    assert shared.worker is None


class Interrupted:
    """A pipe that is being read when the user presses Ctrl-C."""

    def __iter__(self):
        raise KeyboardInterrupt

    def close(self):
        pass


def test_nothing_of_one_export_reaches_the_next(kept, tmp_path, monkeypatch):
    """A module that was changed and loaded again is the new one there too."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "layer_of_a_test.py"
    # Of other lengths: Python takes a file of the same second and length for the one it compiled.
    for factor in (2, 30):
        path.write_text(LAYER.format(factor=factor))
        sys.modules.pop("layer_of_a_test", None)
        importlib.invalidate_caches()
        module = importlib.import_module("layer_of_a_test")
        inputs = keras.Input((4,))
        model = keras.Model(inputs, module.Times()(inputs))
        assert export_tflite(model, tmp_path / f"{factor}.tflite").passed
    sys.modules.pop("layer_of_a_test")


def test_threads_export_to_one_path(kept, tmp_path):
    """The last one to end wins; each has proven its own file."""

    def export(units):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, keras.layers.Dense(units)(inputs))
        return export_tflite(model, tmp_path / "m.tflite").passed

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert all(pool.map(export, (2, 3, 4)))
    assert os.listdir(tmp_path) == ["m.tflite"]
    assert read_tflite(tmp_path / "m.tflite").outputs["logits"][0][1] in (2, 3, 4)


STOPPED = """
import tempfile, threading
import keras
from kdl.deploy import export_tflite

@keras.saving.register_keras_serializable("written_by_a_test")
class Waits(keras.layers.Layer):
    def call(self, x):
        if "kdl-process-" in tempfile.gettempdir():
            open("waits", "w").close()
            threading.Event().wait()
        return x

inputs = keras.Input((4,))
export_tflite(keras.Model(inputs, Waits()(inputs)), "results/m.tflite")
"""


@pytest.mark.long
def test_terminated_export_leaves_nothing(tmp_path):
    for name in ("results", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "script.py").write_text(STOPPED)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        stderr=subprocess.PIPE,
    )
    with process:
        deadline = time.monotonic() + 300
        while not (tmp_path / "waits").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(os.listdir(tmp_path / "results")) <= 1
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert os.listdir(tmp_path / "results") == []
    assert [name for name in os.listdir(tmp_path / "tmp") if name.startswith("kdl-")] == []
