import numpy as np
import pytest
from tiny_tflite import FLOAT, TinyFile

from kdl.deploy import read_tflite
from kdl.deploy.tflite.graph import read_operations


@pytest.fixture(scope="module")
def quickstart(root):
    return root / "saved_models" / "quickstart" / "int8.tflite"


def test_operations_of_the_quickstart(quickstart):
    graph = read_operations(quickstart)
    counted = read_tflite(quickstart).operations
    assert len(graph.operations) == sum(counted.values())
    assert [x.shape for x in graph.inputs] == [(1, 48, 48, 3)]
    assert [x.shape for x in graph.outputs] == [(1, 10)]
    first = next(o for o in graph.operations if o.name == "CONV_2D")
    image, kernel, bias = first.inputs
    assert (image.constant, kernel.constant, bias.constant) == (False, True, True)
    assert kernel.scales == kernel.shape[0] == 24
    assert kernel.values.dtype == np.int8
    assert str(kernel) == "int8[24×3×3×3]"
    assert first.activation == "RELU"
    assert first.option("strideH") == 2
    assert first.option("nonsense", 7) == 7


def test_makers_follow_the_tensors(quickstart):
    graph = read_operations(quickstart)
    seen = 0
    for operation in graph.operations:
        for x, producer in zip(operation.inputs, operation.producers, strict=True):
            if producer is not None:
                assert x in producer.outputs
                assert producer.index < operation.index
                seen += 1
    assert seen >= len(graph.operations)


def test_open_sizes_and_left_out_inputs(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 8, 8, 4), open_axes=(0,))
    out = ((1, 8, 8, 4), FLOAT, None, (0,))
    kernel = tiny.weights((4, 1, 1, 4))
    y = tiny.apply("CONV_2D", [x, kernel, -1], out, strideW=1, strideH=1)
    graph = read_operations(tiny.write(tmp_path / "open.tflite", [x], [y]))
    [operation] = graph.operations
    assert [x.dynamic for x in graph.inputs] == [True]
    assert operation.inputs[2] is None
    assert operation.input(3) is None
    assert len(operation.tensors) == 3


def test_a_file_cut_anywhere_is_refused_with_its_name(quickstart, tmp_path):
    whole = quickstart.read_bytes()
    model = whole[: whole.index(b"PK\x03\x04")]  # the labels lie behind it
    cut = tmp_path / "cut.tflite"
    for length in (0, 3, 8, 100, *np.linspace(1000, len(model) - 1, 7).astype(int)):
        cut.write_bytes(model[:length])
        with pytest.raises(ValueError, match=r"cut\.tflite is (damaged|not a TFLite model)"):
            read_operations(cut)


def test_an_operation_that_names_no_tensor(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 4))
    y = tiny.apply("RELU", [x], ((1, 4), FLOAT))
    tiny.operators[0].inputs = [99]
    path = tiny.write(tmp_path / "bad.tflite", [x], [y])
    with pytest.raises(ValueError, match="names a tensor that does not exist"):
        read_operations(path)
