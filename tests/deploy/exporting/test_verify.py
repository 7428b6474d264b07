import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tflite import FLOAT, TinyFile

from kdl.data import InputSpec, ModelInfo, Samples, set_model_info
from kdl.deploy import Tolerances, export_tflite, verify_tflite, write_metadata
from kdl.deploy.exporting.tolerances import TOLERANCES
from kdl.deploy.exporting.verify import compare_outputs


def compare(expected, actual, labels=None, tolerances=TOLERANCES["float32"]):
    expected, actual = (np.asarray(a, "float32") for a in (expected, actual))
    return compare_outputs("m.tflite", "float32", [expected], [actual], labels, tolerances)


def test_worked_numbers():
    """y = [3, 4], ŷ = [3, 5]: cosine 29/√(25·34), SQNR 10·log10(25/1)."""
    result = compare([[3, 4]], [[3, 5]])
    assert result.cosine == pytest.approx(29 / np.sqrt(25 * 34))
    assert result.sqnr == pytest.approx(10 * np.log10(25))
    assert result.max_error == 1
    assert result.output_range == 1
    assert result.top1_agreement == 1
    assert not result.passed


def test_equal_outputs_pass():
    result = compare([[1, 2], [3, 4]], [[1, 2], [3, 4]], labels=np.array([1, 0]))
    assert result.passed
    assert result.sqnr == np.inf
    assert result.keras_accuracy == result.tflite_accuracy == 0.5
    assert "passed" in str(result)


@given(st.floats(1e-6, 1e6))
def test_sqnr_and_cosine_do_not_depend_on_scale(scale):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((4, 5)).astype("float32")
    z = y + 0.01 * rng.standard_normal((4, 5)).astype("float32")
    plain, scaled = compare(y, z), compare(y * np.float32(scale), z * np.float32(scale))
    assert scaled.sqnr == pytest.approx(plain.sqnr, abs=0.01)
    assert scaled.cosine == pytest.approx(plain.cosine, abs=1e-6)


@pytest.mark.parametrize("bad", [[[np.nan, 1]], [[0, 0]], [[-1, -2]]])
def test_nonsense_fails(bad):
    assert not compare([[1, 2]], bad).passed


def test_zeros_against_noise_fail():
    assert not compare([[0, 0]], [[0, 1e-6]]).passed
    assert compare([[0, 0]], [[0, 0]]).passed


def test_a_gate_without_a_limit_of_the_error_takes_constant_outputs():
    assert compare([[0.1, 0.1]], [[0.1, 0.1001]], tolerances=TOLERANCES["int8"]).passed


def test_top1_gate_counts_disagreements():
    tolerances = Tolerances(sqnr=-np.inf, top1_agreement=0.95)
    expected = np.tile([0.4, 0.6], (100, 1))
    for wrong, passes in ((5, True), (6, False)):
        actual = expected.copy()
        actual[:wrong] = actual[:wrong, ::-1]
        assert compare(expected, actual, tolerances=tolerances).passed == passes
    assert compare(
        expected[:4], np.concatenate([expected[:1, ::-1], expected[1:4]]), tolerances=tolerances
    )


def test_shapes_that_differ_are_another_model():
    with pytest.raises(ValueError, match="another model"):
        compare([[1, 2]], [[1, 2, 3]])


@pytest.mark.export
def test_a_file_of_other_weights_fails(network, images, tmp_path):
    path = tmp_path / "m.tflite"
    export_tflite(network, path)
    assert verify_tflite(path, network, images).passed
    network.set_weights([w + 0.1 for w in network.get_weights()])
    result = verify_tflite(path, network, (images, np.zeros(len(images), int)))
    assert not result.passed
    assert "SQNR" in str(result.failures)
    assert verify_tflite(path, network, images, tolerances=Tolerances(sqnr=0)).passed
    with pytest.warns(FutureWarning, match="gates is now tolerances"):
        assert verify_tflite(path, network, images, gates=Tolerances(sqnr=0)).passed
    with pytest.warns(FutureWarning, match="gates is now tolerances"):
        assert result.gates == result.tolerances


class Decoding(keras.Model):
    """A model whose `predict` makes boxes of its outputs, as that of detectors."""

    def predict_step(self, *_):
        raise NotImplementedError("boxes of the outputs")


@pytest.mark.export
def test_a_file_is_compared_with_the_outputs_of_the_call(network, images, tmp_path):
    path = tmp_path / "m.tflite"
    export_tflite(network, path)
    detector = Decoding(network.inputs, network.outputs)
    result = verify_tflite(path, detector, images)
    assert result.passed
    assert result.sqnr == pytest.approx(verify_tflite(path, network, images).sqnr, abs=3)


@pytest.mark.export
def test_one_hot_labels_and_bad_data(network, images, tmp_path):
    path = tmp_path / "m.tflite"
    export_tflite(network, path)
    labels = np.arange(20) % 4
    one_hot = np.eye(4)[labels]
    results = [verify_tflite(path, network, (images, y)) for y in (labels, one_hot)]
    assert results[0].keras_accuracy == results[1].keras_accuracy
    with pytest.raises(ValueError, match=r"must have shape \(samples, 12, 12, 3\)"):
        verify_tflite(path, network, images[:, :8])


def test_bad_files(tmp_path, network, images):
    with pytest.raises(FileNotFoundError, match="no such"):
        verify_tflite(tmp_path / "missing.tflite", network, images)
    (tmp_path / "text.tflite").write_text("hello")
    with pytest.raises(ValueError, match="not a TFLite model"):
        verify_tflite(tmp_path / "text.tflite", network, images)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_truncated_files(root, share, tmp_path, network, images):
    whole = (root / "saved_models" / "quickstart" / "int8.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut.tflite"):
        verify_tflite(path, network, images)


def test_one_output_is_told_in_one_line_and_several_in_one_each():
    y = np.random.default_rng(0).random((8, 3))
    boxes = np.random.default_rng(1).random((8, 5, 4))
    one = compare_outputs("m.tflite", "int8", [y], [y], None, TOLERANCES["int8"])
    assert str(one).startswith("m.tflite: passed as int8, 8 inputs, cosine 1.000000, largest error")
    names = ["scores", "raw_boxes"]
    pair = [y, boxes], [1 - y, boxes]
    both = compare_outputs("m.tflite", "int8", *pair, None, TOLERANCES["int8"], names)
    first, scores, raw = str(both).splitlines()
    assert first == "m.tflite: FAILED as int8, 8 inputs, 2 outputs"
    assert scores.startswith("  scores     scores    FAILED  cosine")
    assert raw.startswith("  raw_boxes  boxes     passed  cosine 1.0")
    assert all(line.startswith("scores: ") for line in both.failures)


def test_the_summary_of_several_outputs_is_the_worst_of_them():
    y = np.random.default_rng(0).random((8, 3)) + 1
    outputs = [y, 100 * y], [y + 0.1, 100 * y]
    result = compare_outputs("m", "int8", *outputs, None, TOLERANCES["int8"])
    single = compare_outputs("m", "int8", [y], [y + 0.1], None, TOLERANCES["int8"])
    for name in ("sqnr", "cosine", "max_error", "output_range", "top1_agreement"):
        assert getattr(result, name) == getattr(single, name)
    nan = compare_outputs(
        "m", "int8", [y, y], [y, np.full_like(y, np.nan)], None, TOLERANCES["int8"]
    )
    assert np.isnan([nan.sqnr, nan.cosine, nan.max_error]).all()


@pytest.mark.parametrize(
    ("in_file", "accuracy"), [(None, 1), (["a", "b", "c"], 1), (["c", "b", "a"], 0)]
)
def test_labels_go_by_the_names_of_the_file_or_else_of_the_model(in_file, accuracy, tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 3))
    path = tiny.write(tmp_path / "m.tflite", [x], [tiny.apply("NEG", [x], ((1, 3), FLOAT))])
    if in_file:
        write_metadata(path, ModelInfo(in_file))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Rescaling(-1.0)(inputs))
    set_model_info(model, ModelInfo(["a", "b", "c"]))
    # The data numbers its classes b, c, a, and holds one a and one c.
    labels, names = np.array([2, 1]), ["b", "c", "a"]
    data = Samples(np.float32([[-1, 0, 0], [0, 0, -1]]), labels, names)
    assert verify_tflite(path, model, data).keras_accuracy == accuracy


def test_images_that_were_read_otherwise_than_for_the_model_are_refused(tmp_path):
    """Where the file does not tell how."""
    tiny = TinyFile()
    x = tiny.tensor((1, 2, 2, 3))
    path = tiny.write(tmp_path / "m.tflite", [x], [tiny.apply("NEG", [x], ((1, 2, 2, 3), FLOAT))])
    inputs = keras.Input((2, 2, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(-1.0)(inputs))
    set_model_info(model, ModelInfo(None, InputSpec((2, 2), mean=(0.5,) * 3)))
    data = Samples(np.zeros((1, 2, 2, 3), "float32"), input_spec=InputSpec((2, 2)))
    with pytest.raises(ValueError, match="the model takes images by"):
        verify_tflite(path, model, data)
