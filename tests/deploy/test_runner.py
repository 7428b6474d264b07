import numpy as np
import pytest
from tiny_tflite import INT8, SCALE, TinyFile

import kdl
from kdl.deploy import TFLiteRunner, measure_latency, read_tflite
from kdl.deploy.verify import between_kernels


@pytest.fixture(scope="module")
def files(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture(scope="module")
def digits():
    _, (images, labels) = kdl.data.digits(size=48)
    return images[:20], labels[:20]


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_float_arrays_in_and_out_whatever_the_file(form, files, digits):
    runner = TFLiteRunner(files / f"{form}.tflite")
    assert runner.input_shape == (1, 48, 48, 3)
    assert runner.output_names == ["probabilities"]
    [scores] = runner.predict(digits[0])
    assert scores.dtype == np.float32
    assert scores.shape == (20, 10)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=0.02)
    assert np.mean(scores.argmax(-1) == digits[1]) >= 0.9


def test_int8_input_is_clipped_not_wrapped(files, digits):
    runner = TFLiteRunner(files / "int8.tflite")
    far_too_bright = [digits[0] * factor for factor in (10, 1000)]
    one, other = (runner.predict((x > 0) * 1.0 * x.max())[0] for x in far_too_bright)
    np.testing.assert_array_equal(one, other)


def test_inputs_are_rounded_as_models_round(tmp_path):
    """Halves up, not to even."""
    tiny = TinyFile()
    x = tiny.tensor((1, 5), INT8)
    path = tmp_path / "reshape.tflite"
    shape = tiny.constant(np.array([1, 5], "int32"))
    tiny.write(path, [x], [tiny.apply("RESHAPE", [x, shape], ((1, 5), INT8))])
    steps = np.array([[-1.5, -0.5, 0.5, 2.5, 2.4]], "float32")
    [found] = TFLiteRunner(path).predict(steps * np.float32(SCALE))
    np.testing.assert_allclose(found[0] / SCALE, [-1, 0, 1, 3, 2], atol=1e-5)


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_plain_kernels_answer_nearly_alike(form, files, digits):
    fast, plain = (
        TFLiteRunner(files / f"{form}.tflite", delegate=choice).predict(digits[0])[0]
        for choice in (True, False)
    )
    assert np.any(fast != plain)
    np.testing.assert_allclose(plain, fast, atol=0.05 if form == "int8" else 1e-5)


def test_how_far_the_kernels_are_apart(files, digits):
    assert between_kernels(files / "float32.tflite", digits[0]) > 100
    assert 20 < between_kernels(files / "int8.tflite", digits[0]) < 100


def test_wrong_shape(files):
    with pytest.raises(ValueError, match=r"takes inputs of shape \(48, 48, 3\); received \(8, 8,"):
        TFLiteRunner(files / "int8.tflite").predict(np.zeros((1, 8, 8, 3)))


def test_summary_of_a_file(files):
    summary = read_tflite(files / "int8.tflite")
    assert summary.quantization == "int8"
    assert summary.float_tensors == 0
    assert summary.largest_rank == 4
    assert summary.operations["DEPTHWISE_CONV_2D"] == 19  # 13 units and 3 with two branches
    assert summary.operations["CONV_2D"] == 37
    assert summary.size == (files / "int8.tflite").stat().st_size
    assert read_tflite(files / "float16.tflite").quantization == "float16"


def test_latency(files):
    latency = measure_latency(files / "int8.tflite", threads=2, runs=20)
    assert 0 < latency.minimum <= latency.median <= latency.p90
    assert (latency.runs, latency.threads) == (20, 2)
    with pytest.raises(ValueError, match="must be positive"):
        measure_latency(files / "int8.tflite", runs=0)
