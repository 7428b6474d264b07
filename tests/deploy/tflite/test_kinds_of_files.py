"""The kind of a file is that of what computes in it, whatever goes in and out."""

import numpy as np
import pytest
from tiny_tflite import FLOAT, INT8, TinyFile

from kdl.deploy import read_tflite

SHAPE, WEIGHTS = (1, 4, 4, 8), (8, 1, 1, 8)


def convolution(tiny, x, kind):
    inputs = [x, tiny.weights(WEIGHTS, INT8 if kind == "INT8" else kind), tiny.bias(8, kind)]
    return tiny.apply("CONV_2D", inputs, (SHAPE, kind), strideW=1, strideH=1)


def write(tmp_path, build, start):
    tiny = TinyFile()
    x = tiny.tensor(SHAPE, start)
    return read_tflite(tiny.write(tmp_path / "m.tflite", [x], [build(tiny, x)])).quantization


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_integer_files_may_have_float_ends(kind, first, last, tmp_path):
    def build(tiny, x):
        x = tiny.apply("QUANTIZE", [x], (SHAPE, kind)) if first else x
        weights = tiny.constant(np.ones(WEIGHTS, "int8"), "INT8")
        x = tiny.apply("CONV_2D", [x, weights], (SHAPE, kind), strideW=1, strideH=1)
        return tiny.apply("DEQUANTIZE", [x], (SHAPE, FLOAT)) if last else x

    expected = "int16" if kind == "INT16" else "int8"
    assert write(tmp_path, build, FLOAT if first else kind) == expected


def test_integer_files_may_keep_a_part_in_floats(tmp_path):
    def build(tiny, x):
        x = tiny.apply("DEQUANTIZE", [convolution(tiny, x, INT8)], (SHAPE, FLOAT))
        return tiny.apply("ELU", [x], (SHAPE, FLOAT))

    assert write(tmp_path, build, INT8) == "int8"


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("INT8", "dynamic"), ("UINT8", "dynamic"), ("FLOAT16", "float16"), (FLOAT, "float32")],
)
def test_files_that_compute_in_floats_go_by_their_weights(weights, expected, tmp_path):
    def build(tiny, x):
        dtype = {FLOAT: "float32", "FLOAT16": "float16"}.get(weights, weights.lower())
        kernel = tiny.constant(np.ones(WEIGHTS, dtype), weights)
        if weights != "INT8":  # as the converter writes float16; int8 goes into the kernel itself
            kernel = tiny.apply("DEQUANTIZE", [kernel], (WEIGHTS, FLOAT))
        return tiny.apply("CONV_2D", [x, kernel], (SHAPE, FLOAT), strideW=1, strideH=1)

    assert write(tmp_path, build, FLOAT) == expected


def test_pairs_of_quantize_and_dequantize_do_not_make_an_integer_file(tmp_path):
    def build(tiny, x):
        x = convolution(tiny, x, FLOAT)
        x = tiny.apply("QUANTIZE", [x], (SHAPE, INT8))
        return tiny.apply("DEQUANTIZE", [x], (SHAPE, FLOAT))

    assert write(tmp_path, build, FLOAT) == "float32"


def test_bytes_without_a_scale_are_no_quantization(tmp_path):
    def build(tiny, x):
        tiny.tensors[x].quantization = None
        return convolution(tiny, tiny.apply("CAST", [x], (SHAPE, FLOAT)), FLOAT)

    assert write(tmp_path, build, "UINT8") == "float32"
