import numpy as np
import pytest
from tiny_tflite import FLOAT, INT8, SCALE, TinyFile, unscaled_file

import kdl
from kdl.deploy import TFLiteRunner, measure_latency, read_tflite
from kdl.deploy.exporting.verify import between_kernels
from kdl.deploy.tflite.file import parse_tflite


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


def test_numbers_that_integers_cannot_hold_are_refused(files, digits):
    runner = TFLiteRunner(files / "int8.tflite")
    for number in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"int8\.tflite takes integers .* none of"):
            runner.predict(np.full((1, 48, 48, 3), number, "float32"))


def test_no_samples_give_empty_outputs(files, digits):
    [scores] = TFLiteRunner(files / "int8.tflite").predict(digits[0][:0])
    assert (scores.shape, scores.dtype) == ((0, 10), np.float32)


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
    assert between_kernels(files / "float32.tflite", digits[0])["probabilities"] > 100
    assert 20 < between_kernels(files / "int8.tflite", digits[0])["probabilities"] < 100


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
    with pytest.raises(ValueError, match="runs must be a positive integer; received 0"):
        measure_latency(files / "int8.tflite", runs=0)


def pack(path, model):
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def tiny_file(path, shapes, operation, outputs=1, open_axes=()):
    """A file that applies an operation of all inputs, once for each output."""
    tiny = TinyFile()
    inputs = [tiny.tensor(shape, FLOAT, open_axes=open_axes) for shape in shapes]
    results = [tiny.apply(operation, inputs, (shapes[0], FLOAT)) for _ in range(outputs)]
    return tiny.write(path, inputs, results)


@pytest.fixture
def two_signatures(tmp_path):
    """`infer` is the first signature and belongs to the second graph; `encode` to the first."""
    encode = parse_tflite(tiny_file(tmp_path / "a.tflite", [(2, 6)], "NEG"))
    infer = parse_tflite(tiny_file(tmp_path / "b.tflite", [(1, 3)], "ABS"))
    buffers, codes = len(encode.buffers), len(encode.operatorCodes)
    graph = infer.subgraphs[0]
    for tensor in graph.tensors:
        tensor.buffer += buffers
    for operator in graph.operators:
        operator.opcodeIndex += codes
    encode.buffers += infer.buffers
    encode.operatorCodes += infer.operatorCodes
    encode.subgraphs.append(graph)
    signature = infer.signatureDefs[0]
    signature.signatureKey, signature.subgraphIndex = b"infer", 1
    signature.outputs[0].name = b"logits"
    encode.signatureDefs[0].signatureKey = b"encode"
    encode.signatureDefs = [signature, encode.signatureDefs[0]]
    return pack(tmp_path / "two.tflite", encode)


def test_the_first_signature_gives_its_own_graph(two_signatures):
    runner = TFLiteRunner(two_signatures)
    assert (runner.signature, runner.output_names) == ("infer", ["logits"])
    assert (runner.input_shape, runner.output_shapes) == ((1, 3), [(1, 3)])
    x = np.array([[-1, 2, -3], [4, -5, 6]], "float32")
    np.testing.assert_array_equal(runner.predict(x)[0], np.abs(x))
    runner.invoke()
    summary = read_tflite(two_signatures)
    assert summary.signatures == ("infer", "encode")
    assert summary.outputs == {"logits": ((1, 3), "FLOAT32")}


def test_a_signature_is_chosen_by_name(two_signatures):
    runner = TFLiteRunner(two_signatures, signature="encode")
    assert runner.input_shape == (2, 6)
    x = np.ones((3, 6), "float32")
    np.testing.assert_array_equal(runner.predict(x)[0], -x)
    with pytest.raises(ValueError, match=r"no signature 'train'; it has \['infer', 'encode'\]"):
        TFLiteRunner(two_signatures, signature="train")


def test_several_inputs_go_by_name_or_in_order(tmp_path):
    runner = TFLiteRunner(tiny_file(tmp_path / "m.tflite", [(1, 2), (1, 2)], "SUB"))
    x, y = np.array([[5, 7], [1, 1]], "float32"), np.array([[1, 2], [0, 3]], "float32")
    for inputs in ([x, y], (x, y), {"x1": y, "x0": x}):
        np.testing.assert_array_equal(runner.predict(inputs)[0], x - y)
    assert runner.input_names == ["x0", "x1"]
    assert runner.input_shapes == [(1, 2), (1, 2)]
    for wrong in (x, [x], {"x0": x}, [x, y, y]):
        with pytest.raises(ValueError, match=r"takes .*inputs"):
            runner.predict(wrong)
    with pytest.raises(ValueError, match="as many samples"):
        runner.predict([x, y[:1]])
    with pytest.raises(ValueError, match="2 inputs; one was expected"):
        _ = runner.input_shape


def test_outputs_without_a_signature_keep_all_under_names_of_their_own(tmp_path):
    model = parse_tflite(tiny_file(tmp_path / "a.tflite", [(1, 2)], "NEG", outputs=2))
    model.signatureDefs = []
    for number in model.subgraphs[0].outputs:
        model.subgraphs[0].tensors[number].name = b"same"
    path = pack(tmp_path / "m.tflite", model)
    assert (
        TFLiteRunner(path).output_names == list(read_tflite(path).outputs) == ["same_0", "same_1"]
    )
    assert len(TFLiteRunner(path).predict(np.ones((3, 2), "float32"))) == 2


def test_a_signature_that_names_two_outputs_alike_is_refused(tmp_path):
    model = parse_tflite(tiny_file(tmp_path / "a.tflite", [(1, 2)], "NEG", outputs=2))
    for entry in model.signatureDefs[0].outputs:
        entry.name = b"same"
    path = pack(tmp_path / "m.tflite", model)
    for use in (read_tflite, TFLiteRunner):
        with pytest.raises(ValueError, match=r"m\.tflite.*one name to two"):
            use(path)


@pytest.mark.parametrize("given", [(4, 5, 3), (2, 4, 5, 3)])
def test_open_sizes_are_given(given, tmp_path):
    path = tiny_file(tmp_path / "m.tflite", [(1, 1, 1, 3)], "NEG", open_axes=(0, 1, 2))
    assert read_tflite(path).open_sizes
    x = np.random.default_rng(0).random((4, 4, 5, 3)).astype("float32")
    with pytest.raises(
        ValueError, match=r"leaves sizes open: x0 \(\?, \?, \?, 3\)\. .*input_shape="
    ):
        TFLiteRunner(path).predict(x)
    runner = TFLiteRunner(path, input_shape=given)
    np.testing.assert_array_equal(runner.predict(x)[0], -x)
    assert runner.input_shape[1:] == runner.output_shapes[0][1:] == (4, 5, 3)
    for wrong in ((4, 5, 2), (5, 3), (0, 5, 3)):
        with pytest.raises(ValueError, match="does not fit the input"):
            TFLiteRunner(path, input_shape=wrong)


def test_a_file_that_cannot_run_without_its_sizes_says_so(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 1), FLOAT, open_axes=(1,))
    shape = tiny.constant(np.array([2, 5], "int32"))
    path = tmp_path / "m.tflite"
    tiny.write(path, [x], [tiny.apply("RESHAPE", [x, shape], ((2, 5), FLOAT))])
    with pytest.raises(
        ValueError, match=r"cannot be run by LiteRT.*sizes open: x0 \(1, \?\).*input_shape="
    ):
        TFLiteRunner(path)
    assert TFLiteRunner(path, input_shape=(10,)).output_shapes == [(2, 5)]


def test_a_fixed_size_is_not_changed(tmp_path):
    path = tiny_file(tmp_path / "m.tflite", [(1, 4, 3)], "NEG")
    assert not read_tflite(path).open_sizes
    assert TFLiteRunner(path, input_shape=(4, 3)).input_shape == (1, 4, 3)
    with pytest.raises(ValueError, match=r"input_shape=\(5, 3\) does not fit"):
        TFLiteRunner(path, input_shape=(5, 3))


def rows_file(path, batch=1):
    """Rows (3, 2) of an input (batch, 6), and their sum."""
    tiny = TinyFile()
    x = tiny.tensor((batch, 6))
    rows = tiny.apply(
        "RESHAPE", [x, tiny.constant(np.int32([3 * batch, 2]))], ((3 * batch, 2), FLOAT)
    )
    total = tiny.apply("SUM", [x, tiny.constant(np.int32([0, 1]))], ((), FLOAT))
    return tiny.write(path, [x], [rows, total])


@pytest.mark.parametrize("batch", [1, 2])
def test_one_run_gives_outputs_without_a_batch_whole(batch, tmp_path):
    x = np.arange(6 * batch, dtype="float32").reshape(batch, 6)
    rows, total = TFLiteRunner(rows_file(tmp_path / "m.tflite", batch)).predict(x)
    np.testing.assert_array_equal(rows, x.reshape(-1, 2))
    assert total == x.sum()


@pytest.mark.parametrize("samples", [0, 1, 3])
def test_outputs_without_a_batch_are_refused_unless_one_run_suffices(samples, tmp_path):
    runner = TFLiteRunner(rows_file(tmp_path / "m.tflite", batch=2))
    with pytest.raises(ValueError, match=r"m\.tflite gives y0 of shape \(6, 2\), .*batch of 2"):
        runner.predict(np.zeros((samples, 6), "float32"))


def test_outputs_are_chosen_by_their_places(tmp_path):
    """An output without a batch does not hinder those beside it."""
    tiny = TinyFile()
    x = tiny.tensor((1, 6))
    doubled = tiny.apply("ADD", [x, x], ((1, 6), FLOAT))
    total = tiny.apply("SUM", [x, tiny.constant(np.int32([0, 1]))], ((), FLOAT))
    runner = TFLiteRunner(tiny.write(tmp_path / "m.tflite", [x], [doubled, total]))
    inputs = np.ones((3, 6), "float32")
    [outputs] = runner.predict(inputs, [0])
    np.testing.assert_array_equal(outputs, 2 * inputs)
    with pytest.raises(ValueError, match="gives y1"):
        runner.predict(inputs)


@pytest.mark.parametrize("shape", [(), (2, 1, 6)])
def test_inputs_without_a_common_batch_are_run_once(shape, tmp_path):
    """A threshold, or states, beside an image."""
    path = tiny_file(tmp_path / "m.tflite", [(1, 6), shape], "SUB")
    x, y = np.ones((1, 6), "float32"), np.full(shape, 0.25, "float32")
    runner = TFLiteRunner(path, input_shape={"x0": (1, 6), "x1": shape})
    np.testing.assert_array_equal(runner.predict([x, y])[0], x - y)
    with pytest.raises(ValueError, match=r"m\.tflite takes inputs without a common batch.*x1"):
        runner.predict([np.ones((2, 6), "float32"), y])


def test_what_litert_refuses_while_it_runs_names_the_file(tmp_path):
    """Ids beyond the rows of an embedding."""
    tiny = TinyFile()
    ids = tiny.tensor((1, 2), "INT32")
    rows = tiny.apply("GATHER", [tiny.weights((3, 4)), ids], ((1, 2, 4), FLOAT))
    runner = TFLiteRunner(tiny.write(tmp_path / "m.tflite", [ids], [rows]))
    assert runner.predict(np.array([[0, 2]]))[0].shape == (1, 2, 4)
    with pytest.raises(ValueError, match=r"m\.tflite cannot be run by LiteRT: .*out of bounds"):
        runner.predict(np.array([[1, 7]]))


def test_floats_are_rounded_for_integers_without_a_scale(tmp_path):
    runner = TFLiteRunner(unscaled_file(tmp_path / "m.tflite", "UINT8"))
    x = np.array([[6.9999995, 255.0001, -0.0001]], "float32")
    np.testing.assert_array_equal(runner.predict(x)[0], [[7, 255, 0]])


def test_fractions_are_refused_for_integers_without_a_scale(tmp_path):
    runner = TFLiteRunner(unscaled_file(tmp_path / "m.tflite", "UINT8"))
    with pytest.raises(ValueError, match=r"x0 of .*m\.tflite must hold whole numbers.* 0\.37"):
        runner.predict(np.array([[0, 1, 0.37]]))
