import subprocess
import sys

import pytest
from gpu_zoo import IMAGE, ZOO, one
from tiny_tflite import FLOAT, INT8, TinyFile

from kdl.deploy import check

TARGETS = ("gpu", "edgetpu", "cpu")


@pytest.mark.parametrize("target", TARGETS)
def test_a_custom_operation_is_refused_by_its_name(target, tmp_path):
    path = one("CUSTOM:FlexErf", IMAGE, IMAGE, kind=INT8)(tmp_path / "custom.tflite")
    report = check(path, target)
    assert report.verdict == "refused"
    assert "custom:FlexErf" in report.operations[0].cause


@pytest.mark.parametrize("target", TARGETS)
def test_an_operation_beyond_the_schema_is_unknown(target, tmp_path):
    path = one("NUMBER:999", IMAGE, IMAGE, kind=INT8)(tmp_path / "new.tflite")
    [operation] = check(path, target).operations
    assert operation.verdict == "unknown"
    assert "unknown:999" in operation.cause


@pytest.mark.parametrize(
    ("operation", "kind", "verdict"),
    [
        ("RELU", FLOAT, "runs"),
        ("SOFTMAX", FLOAT, "runs"),
        ("SOFTMAX", INT8, "may fall back"),
        ("LOGISTIC", INT8, "runs"),
        ("LOGISTIC", "INT16", "may fall back"),
        ("LOG_SOFTMAX", FLOAT, "may fall back"),
    ],
)
def test_the_processor_runs_all_but_some_slowly(operation, kind, verdict, tmp_path):
    path = one(operation, IMAGE, IMAGE, kind=kind)(tmp_path / "m.tflite")
    [found] = check(path, "cpu").operations
    assert found.verdict == verdict
    assert ("int16" in found.cause) == (kind == "INT16")


def test_what_the_processor_takes_of_slices(tmp_path):
    verdicts = {}
    for name in ("slice", "slice with steps", "slice that drops an axis"):
        verdicts[name] = check(ZOO[name][0](tmp_path / "m.tflite"), "cpu").verdict
    assert verdicts == {
        "slice": "runs",
        "slice with steps": "may fall back",
        "slice that drops an axis": "may fall back",
    }


def test_an_empty_graph_runs(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor(IMAGE)
    report = check(tiny.write(tmp_path / "empty.tflite", [x], [x]))
    assert report.verdict == "runs"
    assert report.operations == []
    assert "nothing to run" in str(report)
    assert "<ol" in report.to_html()


def test_unknown_target_and_run_of_another(root):
    path = root / "saved_models" / "quickstart" / "int8.tflite"
    with pytest.raises(ValueError, match=r"target must be one of \('gpu', 'edgetpu', 'cpu'\)"):
        check(path, "npu")
    with pytest.raises(ValueError, match='run=True is for target="gpu"'):
        check(path, "edgetpu", run=True)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.tflite: no such"):
        check(tmp_path / "missing.tflite")
    text = tmp_path / "text.tflite"
    text.write_text("not a model, whatever its name says")
    with pytest.raises(ValueError, match="is not a TFLite model"):
        check(text)
    with pytest.raises(FileNotFoundError, match="no such"):
        check(tmp_path)


def test_neither_tensorflow_nor_keras_is_needed_to_check(root):
    """The modules of the check alone: the room's other modules need Keras."""
    code = (
        "import sys, types, importlib.util as u\n"
        "for name in ('kdl', 'kdl.deploy'):\n"
        "    module = types.ModuleType(name)\n"
        "    module.__path__ = [name.replace('.', '/')]\n"
        "    sys.modules[name] = module\n"
        "from kdl.deploy.check import check\n"
        "print(check('saved_models/quickstart/int8.tflite').verdict)\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "runs\n", done.stderr
