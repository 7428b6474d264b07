import subprocess

import pytest

from kdl.deploy.conversion import _cause, _death, convert


def ended(code, stderr=""):
    return subprocess.CompletedProcess([], code, "", stderr)


def test_a_missing_operation_is_named():
    text = "Could not translate\nTF Select ops: Erfinv, Cumsum.\nDetails: lines and lines"
    cause = _cause("ConverterError", text)
    assert "no built-in operation for Erfinv, Cumsum" in cause
    assert "\n" not in cause


def test_other_refusals_are_one_paragraph():
    cause = _cause("ValueError", "\n\nfirst line\n  second line\n" + "x" * 5000)
    assert cause.startswith("TensorFlow's converter refused the model (ValueError): first line sec")
    assert len(cause) < 700
    assert "\n" not in cause


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (ended(-9), "ended by SIGKILL. It ran out of memory, perhaps."),
        (ended(-4), "ended by SIGILL"),
        (ended(3, "noise\nlast words\n\n"), "exit status 3: last words"),
        (ended(3), "it said nothing"),
    ],
)
def test_a_process_that_dies_is_explained(done, message):
    assert message in _death(done)


@pytest.mark.export
def test_a_file_that_cannot_be_written_is_no_fault_of_the_model(network, tmp_path):
    target = tmp_path / "missing" / "m.tflite"
    with pytest.raises(OSError, match=r"Cannot write the file: .*missing"):
        convert(network, {"float32": str(target)}, (1, 12, 12, 3))
