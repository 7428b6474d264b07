"""Files that do not hold together, one fault each, and files damaged at random."""

import zipfile

import flatbuffers
import numpy as np
import pytest
from deploy.gpu_zoo import ZOO
from mutation import assert_survives, mutations
from tiny_tflite import FLOAT, TinyFile

from kdl.data import ModelInfo
from kdl.deploy import TFLiteRunner, check, read_tflite, write_metadata, write_sidecar
from kdl.deploy.tflite.file import parse_tflite
from kdl.deploy.tflite.metadata import find_info

IMAGE = (1, 8, 8, 4)
NAMES = ["one", "two", "three"]


def check_all(path):
    return [check(path, target) for target in ("gpu", "edgetpu", "cpu")]


READERS = {
    "check": check_all,
    "read_tflite": read_tflite,
    "find_info": find_info,
    "write_sidecar": write_sidecar,
    "write_metadata": lambda path: write_metadata(path, ModelInfo(NAMES)),
}
EVERY_READER = pytest.mark.parametrize("use", READERS.values(), ids=READERS)


def convolution(width=4, **options):
    """A file under construction: padded, convolved, then a row of three numbers."""
    tiny = TinyFile()
    x = tiny.tensor(IMAGE)
    amounts = tiny.constant(np.int32([[0, 0], [1, 1], [1, 1], [0, 0]]))
    padded = tiny.apply("PAD", [x, amounts], ((1, 10, 10, 4), FLOAT))
    kernel = tiny.weights((8, 3, 3, width))
    options = {"strideW": 1, "strideH": 1, **options}
    y = tiny.apply("CONV_2D", [padded, kernel, tiny.bias(8)], (IMAGE[:3] + (8,), FLOAT), **options)
    z = tiny.apply("FULLY_CONNECTED", [y, tiny.weights((3, 512))], ((1, 3), FLOAT))
    return tiny, x, z


@EVERY_READER
def test_a_sound_file_is_read(use, tmp_path):
    tiny, x, y = convolution()
    use(tiny.write(tmp_path / "m.tflite", [x], [y]))


def set_scales(tiny, scales, zeros, axis=0):
    quantization = tiny.schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = scales, zeros
    quantization.quantizedDimension = axis
    tiny.tensors[0].quantization = quantization


FAULTS = {
    "no such tensor": lambda t: setattr(t.operators[1], "inputs", [99, 3]),
    "negative output": lambda t: setattr(t.operators[1], "outputs", [-1]),
    "negative input": lambda t: setattr(t.operators[1], "inputs", [-2, 3]),
    "no such code": lambda t: setattr(t.operators[1], "opcodeIndex", 9),
    "no such buffer": lambda t: setattr(t.tensors[0], "buffer", 99),
    "an operation without its input": lambda t: setattr(t.operators[2], "inputs", [-1, 5]),
    "unknown type": lambda t: setattr(t.tensors[0], "type", 99),
    "negative size": lambda t: setattr(t.tensors[0], "shape", [1, -8, 8, 4]),
    "65 axes": lambda t: setattr(t.tensors[0], "shape", [1] * 65),
    "larger than any device": lambda t: setattr(t.tensors[0], "shape", [2**31 - 1] * 4),
    "another rank in the signature": lambda t: setattr(t.tensors[0], "shapeSignature", [-1, 8]),
    "a size of -2": lambda t: setattr(t.tensors[0], "shapeSignature", [-2, 8, 8, 4]),
    "a constant cut short": lambda t: setattr(t.tensors[3], "shape", [9, 3, 3, 4]),
    "no output": lambda t: setattr(t.operators[1], "outputs", []),
    "an absent kernel": lambda t: setattr(t.operators[1], "inputs", [2, -1]),
    "one input": lambda t: setattr(t.operators[1], "inputs", [2]),
    "a row for an image": lambda t: setattr(t.tensors[2], "shape", [1, 400]),
    "amounts of three axes": lambda t: setattr(t.tensors[0], "shape", [8, 8, 4]),
    "float amounts": lambda t: setattr(t.tensors[1], "type", 0),
    "a buffer beyond the end": lambda t: [
        setattr(t.buffers[1], n, 10**6) for n in ("offset", "size")
    ],
    "a scale that is not finite": lambda t: set_scales(t, [np.nan], [0]),
    "no zero point": lambda t: set_scales(t, [1.0], []),
    "scales along no axis": lambda t: set_scales(t, [1.0] * 8, [0] * 8, axis=7),
    "too many scales": lambda t: set_scales(t, [1.0] * 5, [0] * 5, axis=3),
    "no stride": lambda t: setattr(t.operators[1].builtinOptions, "strideW", 0),
    "negative dilation": lambda t: setattr(t.operators[1].builtinOptions, "dilationHFactor", -1),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_does_not_hold_together_is_refused_by_every_reader(fault, tmp_path):
    tiny, x, y = convolution()
    fault(tiny)
    path = tiny.write(tmp_path / "bad.tflite", [x], [y])
    content = path.read_bytes()
    for use in READERS.values():
        with pytest.raises(ValueError, match=r"bad\.tflite is damaged or truncated"):
            use(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("width", [3, 5, 8])
def test_kernels_that_do_not_divide_the_channels(width, tmp_path):
    tiny, x, y = convolution(width)
    path = tiny.write(tmp_path / "bad.tflite", [x], [y])
    with pytest.raises(ValueError, match=rf"bad\.tflite.*kernels of {width} channels"):
        check_all(path)


@pytest.mark.parametrize(("inputs", "outputs"), [([99], [0]), ([0], [99])])
def test_inputs_and_outputs_that_do_not_exist(inputs, outputs, tmp_path):
    tiny, *_ = convolution()
    path = tiny.write(tmp_path / "bad.tflite", inputs, outputs)
    for use in READERS.values():
        with pytest.raises(ValueError, match=r"bad\.tflite.*names a tensor that does not exist"):
            use(path)


def test_names_that_are_no_text_are_read(tmp_path):
    tiny, x, y = convolution()
    tiny.tensors[y].name = b"\xff\xfe"
    path = tiny.write(tmp_path / "m.tflite", [x], [y])
    for use in READERS.values():
        use(path)


def test_lists_that_are_left_out_are_empty(tmp_path):
    tiny, x, y = convolution()
    tiny.tensors[y].shape = None
    tiny.operators = []
    model = parse_tflite(tiny.write(tmp_path / "m.tflite", [x], [y]))
    assert list(model.subgraphs[0].tensors[y].shape) == []
    assert model.metadata == []


def overlapping(graphs, tensors, name=b"t", scales=0):
    """A small file whose graphs are one, and whose tensors are one, listed again and again."""
    from ai_edge_litert import schema_py_generated as schema

    builder = flatbuffers.Builder(1024)
    tensor = schema.TensorT()
    tensor.name = name
    if scales:
        tensor.shape, tensor.quantization = [scales], schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0] * scales, [0] * scales
    one = tensor.Pack(builder)
    schema.SubGraphStartTensorsVector(builder, tensors)
    for _ in range(tensors):
        builder.PrependUOffsetTRelative(one)
    places = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, places)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, graphs)
    for _ in range(graphs):
        builder.PrependUOffsetTRelative(graph)
    places = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, places)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (overlapping(300, 300), "which do not fit into it"),
        (overlapping(1, 400, name=b"n" * 20000), "its texts overlap"),
        (overlapping(1, 400, scales=5000), "its lists overlap"),
    ],
)
def test_small_files_that_describe_much_are_refused_at_once(content, message, tmp_path):
    path = tmp_path / "bomb.tflite"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"bomb\.tflite.*{message}"):
        read_tflite(path)
    assert assert_survives(read_tflite, path, [content], memory=4 << 20)


def described(tmp_path):
    """Bytes of a file with metadata and labels of others."""
    tiny, x, y = convolution()
    path = tiny.write(tmp_path / "described.tflite", [x], [y])
    write_metadata(path, ModelInfo(NAMES))
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "\n".join(NAMES))
    return path.read_bytes()


def test_a_file_with_its_constants_behind_the_model_takes_no_metadata(tmp_path):
    tiny, x, y = convolution()
    vars(tiny.buffers[0]).update(offset=8, size=8)
    path = tiny.write(tmp_path / "large.tflite", [x], [y])
    with pytest.raises(ValueError, match=r"large\.tflite keeps its constants behind the model"):
        write_metadata(path, ModelInfo(NAMES))


@EVERY_READER
def test_random_damage_is_survived(use, tmp_path):
    path = tmp_path / "damaged.tflite"
    refused = assert_survives(use, path, mutations(described(tmp_path), 120))
    assert refused > 20


def test_random_damage_of_every_operation_is_survived(tmp_path):
    for seed, (write, *_) in enumerate(ZOO.values()):
        content = write(tmp_path / "sound.tflite").read_bytes()
        assert_survives(check_all, tmp_path / "damaged.tflite", mutations(content, 3, seed))


def test_a_sound_file_with_metadata_survives_unchanged(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(described(tmp_path))
    assert find_info(path).labels == NAMES


@pytest.mark.parametrize("name", [None, b"", b"\xff"])
def test_a_signature_without_a_name_in_text_is_refused_by_every_reader(name, tmp_path):
    tiny, x, y = convolution()
    signature = tiny._signature([x], [y])
    signature.signatureKey = name
    tiny._signature = lambda inputs, outputs: signature
    path = tiny.write(tmp_path / "bad.tflite", [x], [y])
    for use in (*READERS.values(), TFLiteRunner):
        with pytest.raises(ValueError, match=r"bad\.tflite is damaged or truncated"):
            use(path)
