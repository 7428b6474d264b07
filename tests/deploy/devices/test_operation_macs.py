import pytest
from tiny_tflite import FLOAT, TinyFile

from kdl.deploy import check
from kdl.deploy.devices._operation_macs import operation_macs
from kdl.deploy.tflite.graph import read_operations


def test_a_network_counts_as_its_model_does(root):
    """ShuffleNetV2(0.5) at 48² has that many by `kdl.applications.macs`, too."""
    for name in ("float32", "int8"):
        path = root / "saved_models" / "quickstart" / f"{name}.tflite"
        assert check(path, "cpu").macs == 2_302_480


@pytest.mark.parametrize(
    ("operation", "inputs", "out", "options", "expected"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 4)], (1, 4, 4, 6), {}, 16 * 6 * 36),
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2)], (1, 8, 8, 6), {}, 64 * 6 * 18),
        ("CONV_3D", [(1, 4, 8, 8, 2), (2, 3, 3, 2, 5)], (1, 4, 8, 8, 5), {}, 1280 * 36),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 5, 3, 4)], (1, 8, 8, 4), {}, 256 * 15),
        ("FULLY_CONNECTED", [(2, 7), (5, 7)], (2, 5), {}, 70),
        ("BATCH_MATMUL", [(3, 2, 4), (3, 4, 5)], (3, 2, 5), {}, 120),
        ("BATCH_MATMUL", [(3, 4, 2), (3, 4, 5)], (3, 2, 5), {"adjX": True}, 120),
        ("ADD", [(1, 8), (1, 8)], (1, 8), {}, 0),
    ],
)
def test_worked_numbers(operation, inputs, out, options, expected, tmp_path):
    tiny = TinyFile()
    numbers = [tiny.tensor(shape) for shape in inputs]
    y = tiny.apply(operation, numbers, (out, FLOAT), **options)
    [read] = read_operations(tiny.write(tmp_path / "m.tflite", numbers, [y])).operations
    assert operation_macs(read) == expected


def test_a_transposed_convolution_counts_by_its_input(tmp_path):
    tiny = TinyFile()
    x, size = tiny.tensor((1, 4, 4, 3)), tiny.tensor((4,), "INT32")
    y = tiny.apply("TRANSPOSE_CONV", [size, tiny.weights((5, 2, 2, 3)), x], ((1, 8, 8, 5), FLOAT))
    [read] = read_operations(tiny.write(tmp_path / "m.tflite", [size, x], [y])).operations
    assert operation_macs(read) == 4 * 4 * 3 * 2 * 2 * 5


def matrices(tiny, *widths):
    """A graph of products with `widths` columns, from a row of 8 numbers to one of 8."""
    x = y = tiny.tensor((1, 8))
    for width in widths:
        columns = tiny.tensors[y].shape[1]
        y = tiny.apply(
            "FULLY_CONNECTED", [y, tiny.weights((width, columns)), -1], ((1, width), FLOAT)
        )
    return [x], [y]


def test_of_two_branches_the_larger_is_counted(tmp_path):
    tiny = TinyFile()
    for widths in ((8,), (16, 8)):
        tiny.set_aside(*matrices(tiny, *widths))
    (x,), (y,) = matrices(tiny, 8)
    condition = tiny.tensor((), "BOOL")
    options = {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2}
    y = tiny.apply("IF", [condition, y], ((1, 8), FLOAT), **options)
    report = check(tiny.write(tmp_path / "m.tflite", [condition, x], [y]), "cpu")
    assert report.macs == 64 + 256
    assert [o.macs for o in report.operations] == [64, 0, 0, 128, 128]
    assert "IF" in report.notes[0]


def test_a_loop_is_counted_once_and_what_runs_at_first_never(tmp_path):
    tiny = TinyFile()
    tiny.set_aside(*matrices(tiny, 8))
    tiny.set_aside(*matrices(tiny, 4, 8))
    first = tiny.set_aside(*matrices(tiny, 8, 8, 8))
    x = tiny.tensor((1, 8))
    tiny.apply("CALL_ONCE", [], initSubgraphIndex=first)
    options = {"condSubgraphIndex": 1, "bodySubgraphIndex": 2}
    y = tiny.apply("WHILE", [x], ((1, 8), FLOAT), **options)
    report = check(tiny.write(tmp_path / "m.tflite", [x], [y]), "cpu")
    assert report.macs == 64 + 64
    assert "WHILE" in report.notes[0]


def test_a_graph_that_calls_itself_is_counted_once(tmp_path):
    tiny = TinyFile()
    x, y = tiny.tensor((1, 8)), None
    y = tiny.apply("FULLY_CONNECTED", [x, tiny.weights((8, 8)), -1], ((1, 8), FLOAT))
    y = tiny.apply("WHILE", [y], ((1, 8), FLOAT), condSubgraphIndex=0, bodySubgraphIndex=0)
    assert check(tiny.write(tmp_path / "m.tflite", [x], [y]), "cpu").macs == 64


def test_recurrent_layers_count_their_matrices_at_each_step(tmp_path):
    """Two samples of five steps: input and recurrent weights of three units; the state none."""
    tiny = TinyFile()
    x, state = tiny.tensor((2, 5, 4)), tiny.tensor((2, 3))
    weights = [tiny.weights((3, 4)), tiny.weights((3, 3)), tiny.weights((3,))]
    y = tiny.apply("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *weights, state], ((2, 5, 3), FLOAT))
    [read] = read_operations(tiny.write(tmp_path / "m.tflite", [x, state], [y])).operations
    assert operation_macs(read) == 2 * 5 * (3 * 4 + 3 * 3)
