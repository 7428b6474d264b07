import pytest

from kdl.deploy.exporting.conversion import _cause, convert


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


@pytest.mark.export
def test_a_file_that_cannot_be_written_is_no_fault_of_the_model(network, tmp_path):
    target = tmp_path / "missing" / "m.tflite"
    with pytest.raises(OSError, match=r"Cannot write the file: .*missing"):
        convert(network, {"float32": str(target)}, {"image": (1, 12, 12, 3)})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'in user code:\n\n    File "x.py", line 3, in serve  *\n        outputs = 1\n'
            "    File \"y.py\"\n\n    ValueError: 'modèle' is no scope name.\n    It must match.\n",
            "ValueError: 'modèle' is no scope name. It must match.",
        ),
        (
            "<class 'F'> could not be deserialized properly.\n\nconfig={'a': 1}.\n\nException "
            "encountered: Could not locate class 'B'. Register it.\n\nFull object config: {'b': 2}",
            "Could not locate class 'B'. Register it.",
        ),
        (
            "Exception encountered when calling B.call().\n\n\x1b[1mbad shape\x1b[0m\n\nArguments",
            "Exception encountered when calling B.call(). bad shape Arguments",
        ),
        ("\n", "no message"),
    ],
)
def test_reason_is_taken_from_where_it_stands(message, reason):
    assert _cause("T", message) == f"TensorFlow's converter refused the model (T): {reason}"
