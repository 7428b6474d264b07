import subprocess
import sys

import pytest
from gpu_zoo import IMAGE, ZOO, one
from tiny_tflite import FLOAT, INT8, TinyFile

from kdl.deploy import check

TARGETS = ("gpu", "edgetpu", "cpu")


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("FlexErf", ("refused", "refused", "refused")),
        ("MyOwn", ("unknown", "refused", "refused")),
        ("Convolution2DTransposeBias", ("runs", "refused", "runs")),
        ("TFLite_Detection_PostProcess", ("refused", "refused", "may fall back")),
    ],
)
def test_custom_operations_are_judged_by_their_names(name, verdicts, tmp_path):
    path = one(f"CUSTOM:{name}", IMAGE, IMAGE)(tmp_path / "custom.tflite")
    for target, verdict in zip(TARGETS, verdicts, strict=True):
        [operation] = check(path, target).operations
        assert operation.verdict == verdict
        assert name in operation.operation
        if verdict == "unknown":
            assert operation.source == "not measured"
            assert "was not measured" in operation.cause
        else:
            assert operation.source.startswith(("measured: ", "published: "))


def test_measurements_are_told_with_their_version(tmp_path):
    path = ZOO["relu of int8"][0](tmp_path / "m.tflite")
    for target in ("gpu", "cpu"):
        assert "ai-edge-litert 2." in check(path, target).operations[0].source


@pytest.mark.parametrize("target", TARGETS)
def test_an_operation_beyond_the_schema_is_unknown(target, tmp_path):
    path = one("NUMBER:999", IMAGE, IMAGE, kind=INT8)(tmp_path / "new.tflite")
    [operation] = check(path, target).operations
    assert operation.verdict == "unknown"
    assert "unknown:999" in operation.cause


def test_kernels_and_versions_that_the_runtime_lacks_are_refused(tmp_path):
    path = one("STABLEHLO_CONVERT", IMAGE, IMAGE)(tmp_path / "absent.tflite")
    [operation] = check(path, "cpu").operations
    assert (operation.verdict, "no kernel of STABLEHLO_CONVERT" in operation.cause) == (
        "refused",
        True,
    )
    tiny = TinyFile()
    x = tiny.tensor(IMAGE)
    y = tiny.apply("RELU", [x], (IMAGE, FLOAT))
    tiny.codes[0].version = 99
    [operation] = check(tiny.write(tmp_path / "new.tflite", [x], [y]), "cpu").operations
    assert (operation.verdict, "version 99 of RELU" in operation.cause) == ("refused", True)


def test_types_that_were_not_measured_are_unknown(tmp_path):
    path = one("RELU", IMAGE, IMAGE, kind="UINT64")(tmp_path / "m.tflite")
    [operation] = check(path, "cpu").operations
    assert operation.verdict == "unknown"
    assert operation.source.startswith("not measured")


@pytest.mark.parametrize("target", TARGETS)
def test_dynamic_dimensions_are_told(target, tmp_path):
    tiny = TinyFile()
    x = tiny.tensor(IMAGE, open_axes=(1, 2))
    y = tiny.apply("RELU", [x], (IMAGE, FLOAT))
    report = check(tiny.write(tmp_path / "open.tflite", [x], [y]), target)
    assert "dynamic dimensions (1×?×?×8)" in report.notes[0]
    assert "(1×?×?×8)" in str(report)
    assert check(ZOO["relu"][0](tmp_path / "fixed.tflite"), target).notes == []


@pytest.mark.parametrize("target", TARGETS)
def test_an_operation_without_its_inputs_is_a_damaged_file(target, tmp_path):
    tiny = TinyFile()
    x = tiny.tensor(IMAGE, INT8)
    y = tiny.apply("BATCH_MATMUL", [], (IMAGE, INT8))
    z = tiny.apply("CONCATENATION", [], (IMAGE, INT8))
    path = tiny.write(tmp_path / "bare.tflite", [x], [y, z])
    with pytest.raises(ValueError, match=r"bare\.tflite is damaged"):
        check(path, target)


def test_an_empty_graph_runs(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor(IMAGE)
    report = check(tiny.write(tmp_path / "empty.tflite", [x], [x]))
    assert report.verdict == "runs"
    assert report.operations == []
    assert "nothing to run" in str(report)
    assert "Causes" not in report.to_html()


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
    """The modules of the check alone: the package's other modules need Keras."""
    code = (
        "import sys, types, importlib.util as u\n"
        "for name in ('kdl', 'kdl.deploy'):\n"
        "    module = types.ModuleType(name)\n"
        "    module.__path__ = [name.replace('.', '/')]\n"
        "    sys.modules[name] = module\n"
        "from kdl.deploy.devices.check import check\n"
        "print(check('saved_models/quickstart/int8.tflite').verdict)\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout == "runs\n", done.stderr
