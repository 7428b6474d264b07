import os
import struct
import zipfile
from types import SimpleNamespace

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_tflite import FLOAT, TinyFile

import kdl
from kdl.data import InputSpec, ModelInfo, read_model_info
from kdl.deploy import ImageClassifier, TFLiteRunner, export_tflite, write_metadata
from kdl.deploy.tflite._description import labelled_outputs
from kdl.deploy.tflite.metadata import find_info, read_metadata
from kdl.deploy.tflite.metadata_schema import pack, unpack

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nöun"]
IMAGENET = InputSpec((48, 48), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


class Walk:
    """A flatbuffer table, read by its numbers alone, with no library."""

    def __init__(self, content, place=None):
        self.content = content
        self.place = self.number("I", 0) if place is None else place

    def number(self, kind, place):
        return struct.unpack_from("<" + kind, self.content, place)[0]

    def field(self, slot):
        """Place of a field, or None."""
        vtable = self.place - self.number("i", self.place)
        if 4 + 2 * slot >= self.number("H", vtable):
            return None
        offset = self.number("H", vtable + 4 + 2 * slot)
        return self.place + offset if offset else None

    def scalar(self, slot, kind="b"):
        place = self.field(slot)
        return 0 if place is None else self.number(kind, place)

    def follow(self, place):
        return place + self.number("I", place)

    def table(self, slot):
        return Walk(self.content, self.follow(self.field(slot)))

    def vector(self, slot):
        place = self.follow(self.field(slot))
        return place + 4, self.number("I", place)

    def tables(self, slot):
        start, count = self.vector(slot)
        return [Walk(self.content, self.follow(start + 4 * i)) for i in range(count)]

    def bytes(self, slot):
        start, count = self.vector(slot)
        return self.content[start : start + count]

    def text(self, slot):
        return self.bytes(slot).decode()

    def floats(self, slot):
        start, count = self.vector(slot)
        return np.frombuffer(self.content, "<f4", count, start)


def described(content):
    """The entry TFLITE_METADATA: Model.metadata is field 6, Model.buffers field 4."""
    model = Walk(content)
    [entry] = [entry for entry in model.tables(6) if entry.text(0) == "TFLITE_METADATA"]
    return model.tables(4)[entry.scalar(1, "I")].bytes(0)


@pytest.fixture(scope="module")
def files(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture
def path(files, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes((files / "int8.tflite").read_bytes())
    return path


def test_a_plain_walk_finds_all_of_it(path):
    write_metadata(path, ModelInfo(NAMES, IMAGENET), name="digits")
    content = described(path.read_bytes())
    assert content[4:8] == b"M001"
    model = Walk(content)
    assert (model.text(0), model.text(7)) == ("digits", "1.0.0")
    [graph] = model.tables(3)
    [image], [scores] = graph.tables(2), graph.tables(3)
    assert (image.text(0), scores.text(0)) == ("image", "probabilities")
    # Content: 2 is ImageProperties, with RGB (1) and its size.
    assert image.table(3).scalar(0) == 2
    properties = image.table(3).table(1)
    assert properties.scalar(0) == 1
    size = properties.table(1)
    assert (size.scalar(0, "I"), size.scalar(1, "I")) == (48, 48)
    # One process unit: 1 is NormalizationOptions, in units of bytes.
    [unit] = image.tables(4)
    assert unit.scalar(0) == 1
    np.testing.assert_allclose(unit.table(1).floats(0), 255 * np.array(IMAGENET.mean), rtol=1e-6)
    np.testing.assert_allclose(unit.table(1).floats(1), 255 * np.array(IMAGENET.std), rtol=1e-6)
    limits = IMAGENET.normalize(np.array([[0] * 3, [255] * 3], "uint8"))
    np.testing.assert_allclose(image.table(5).floats(0), limits[1], rtol=1e-5)
    np.testing.assert_allclose(image.table(5).floats(1), limits[0], rtol=1e-5)
    # FeatureProperties (1), from 0 to 1, and the labels of the axis (2).
    assert scores.table(3).scalar(0) == 1
    assert (scores.table(5).floats(0), scores.table(5).floats(1)) == ([1], [0])
    [labels] = scores.tables(6)
    assert (labels.text(0), labels.scalar(2)) == ("labels.txt", 2)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == NAMES
        # MediaPipe reads files that are not compressed only.
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_STORED}


def test_grey_and_bgr(path, tmp_path):
    def color(spec, file):
        write_metadata(file, ModelInfo(None, spec))
        [image] = Walk(described(file.read_bytes())).tables(3)[0].tables(2)
        return image.table(3).table(1).scalar(0)

    assert color(InputSpec((48, 48), color="bgr"), path) == 0  # unknown: the schema has no BGR
    assert find_info(path).input_spec.color == "bgr"
    grey = tmp_path / "grey.tflite"
    grey.write_bytes(network_file((1, 4, 5, 1), (1, 3)))
    assert color(InputSpec((4, 5), channels=1), grey) == 2


def network_file(input_shape, output_shape, output_type=schema.TensorType.FLOAT32):
    """A file with an input, an output and no operation."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    tensors = []
    for name, shape in ((b"in", input_shape), (b"out", output_shape)):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensors.append(tensor)
    tensors[1].type = output_type
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [1], []
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers = [schema.BufferT()]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("shape", "kind", "labels_kind"),
    [((1, 4, 4, 10), "FLOAT32", 2), ((1, 4, 4), "INT64", 3), ((1, 4, 4, 1), "INT32", 3)],
)
def test_classes_of_pixels(tmp_path, shape, kind, labels_kind):
    """Scores have a label for each channel, label maps for each of their values."""
    path = tmp_path / "m.tflite"
    path.write_bytes(network_file((1, 4, 4, 3), shape, getattr(schema.TensorType, kind)))
    write_metadata(path, ModelInfo(NAMES, InputSpec((4, 4))))
    written = read_metadata(path)
    assert written["description"] == "Image segmenter made with kdl."
    [output] = written["subgraph_metadata"][0]["output_tensor_metadata"]
    [labels] = output["associated_files"]
    assert (labels["name"], labels["type"]) == ("labels.txt", labels_kind)
    assert find_info(path).labels == NAMES


def test_scores_of_pixels_in_other_classes(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(network_file((1, 4, 4, 3), (1, 4, 4, 3)))
    with pytest.raises(ValueError, match="no output for 10 classes"):
        write_metadata(path, ModelInfo(NAMES))


def contents(value):
    """A ModelT as plain values, without metadata and the buffers they need."""
    if isinstance(value, np.ndarray | list):
        return [contents(entry) for entry in value] if len(value) < 9999 else bytes(value)
    if hasattr(value, "__dict__"):
        return {key: contents(entry) for key, entry in vars(value).items() if key != "metadata"}
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_all_else_stays(files, form, tmp_path):
    source, path = files / f"{form}.tflite", tmp_path / "m.tflite"
    path.write_bytes(source.read_bytes())
    write_metadata(path, ModelInfo(NAMES, IMAGENET))
    before, after = (
        schema.ModelT.InitFromObj(schema.Model.GetRootAs(p.read_bytes(), 0)) for p in (source, path)
    )
    added = after.buffers.pop()
    assert bytes(added.data[4:8]) == b"M001"
    assert [entry.name for entry in after.metadata[:-1]] == [e.name for e in before.metadata]
    assert contents(before) == contents(after)
    # TFLite wants its constants at multiples of 16 bytes.
    walk = Walk(path.read_bytes())
    starts = [b.vector(0)[0] for b in walk.tables(4) if b.field(0)]
    assert len(starts) > 50
    assert not any(start % 16 for start in starts)
    _, (images, _) = kdl.data.digits(size=48)
    one, other = (TFLiteRunner(p).predict(images[:30])[0] for p in (source, path))
    np.testing.assert_array_equal(one, other)


def test_written_again_it_is_replaced(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "kept")
    write_metadata(path, ModelInfo(NAMES, IMAGENET))
    size = path.stat().st_size
    write_metadata(path, ModelInfo(NAMES[::-1], IMAGENET))
    assert path.stat().st_size == size
    assert read_model_info(path) == ModelInfo(NAMES[::-1], IMAGENET)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["kdl.json", "labels.txt", "notes.txt"]
        assert archive.read("notes.txt") == b"kept"
    assert os.listdir(path.parent) == ["m.tflite"]


def test_others_files_are_understood(path, files, tmp_path):
    """As made by other tools: metadata and labels, but no `kdl.json`."""
    write_metadata(path, ModelInfo(NAMES, IMAGENET), name="digits")
    foreign = tmp_path / "foreign.tflite"
    content = path.read_bytes()
    foreign.write_bytes(content[: content.index(b"PK\x03\x04")])
    with zipfile.ZipFile(foreign, "a") as archive:
        archive.writestr("labels.txt", "\n".join(NAMES))
    assert read_model_info(foreign) == ModelInfo()
    info = find_info(foreign)
    assert info.labels == NAMES
    assert info.input_spec.size == (48, 48)
    np.testing.assert_allclose(info.input_spec.mean, IMAGENET.mean, rtol=1e-6)
    np.testing.assert_allclose(info.input_spec.std, IMAGENET.std, rtol=1e-6)
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), "uint8")
    assert ImageClassifier(foreign).predict(image) == ImageClassifier(path).predict(image)
    assert read_metadata(foreign)["name"] == "digits"
    assert read_metadata(files / "int8.tflite") == {}
    assert find_info(bare(tmp_path)) == ModelInfo()


def bare(folder):
    path = folder / "n.tflite"
    path.write_bytes(network_file((1, 4, 4, 3), (1, 3)))
    return path


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (ModelInfo(NAMES[:3]), "no output for 3 classes"),
        (ModelInfo(NAMES, InputSpec((32, 32))), r"images of shape \(32, 32, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(path, info, message):
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        write_metadata(path, info)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["m.tflite"]


def test_bad_files(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such"):
        write_metadata(tmp_path / "missing.tflite", ModelInfo(NAMES))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(ValueError, match="damaged or truncated"):
        write_metadata(path, ModelInfo(NAMES))
    with pytest.raises(ValueError, match="the mark M001"):
        unpack(b"\0" * 20)
    with pytest.raises(ValueError, match=r"has no fields \['colour'\]"):
        pack({"colour": "red"})


@pytest.mark.long
@pytest.mark.export
def test_export_writes_it(network, tmp_path):
    path = tmp_path / "m.tflite"
    spec = InputSpec((12, 12), mean=(0.5,) * 3, std=(0.5,) * 3)
    export_tflite(network, path, labels=["a", "b", "c", "d"], input_spec=spec)
    [graph] = Walk(described(path.read_bytes())).tables(3)
    [unit] = graph.tables(2)[0].tables(4)
    assert unit.table(1).floats(0).tolist() == [127.5] * 3
    assert ImageClassifier(path).predict(np.zeros((9, 9), "uint8"))[0].label in "abcd"
    with pytest.raises(ValueError, match=r"describes images of shape \(8, 8, 3\)"):
        export_tflite(network, tmp_path / "n.tflite", input_spec=InputSpec((8, 8)))
    assert os.listdir(tmp_path) == ["m.tflite"]


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ({1: "embedding", 2: "probabilities"}, [1]),
        ({1: "logits", 2: "other"}, [0]),
        ({1: "logits", 2: "probabilities"}, [0]),
        ({1: "boxes", 2: "labels"}, [1]),
        ({1: "other", 2: "class_scores"}, [1]),
        ({1: "state", 2: "dense_1"}, [1]),
        ({1: "bbox", 2: "anchor_boxes"}, []),
        ({1: "a", 2: "b"}, [0, 1]),
    ],
)
def test_labels_belong_to_the_output_whose_name_says_so(names, places):
    tensors = [SimpleNamespace(shape=shape) for shape in ((1, 2), (1, 3), (1, 3))]
    graph = SimpleNamespace(tensors=tensors, outputs=[1, 2])
    assert labelled_outputs(graph, ["x", "y", "z"], names) == places


def test_labels_fit_no_output_of_another_width():
    graph = SimpleNamespace(tensors=[SimpleNamespace(shape=(1, 3))], outputs=[0])
    assert labelled_outputs(graph, ["x"], {0: "logits"}) == []
    assert labelled_outputs(graph, ["x", "y", "z"], {0: "mailbox"}) == [0]


def test_labels_of_outputs_that_are_not_told_apart_are_attached_to_none(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 3))
    outputs = [tiny.apply("NEG", [x], ((1, 3), FLOAT)) for _ in range(2)]
    path = tiny.write(tmp_path / "m.tflite", [x], outputs)
    write_metadata(path, ModelInfo(["x", "y", "z"]))
    [graph] = read_metadata(path)["subgraph_metadata"]
    assert not any("associated_files" in output for output in graph["output_tensor_metadata"])
    assert find_info(path).labels == ["x", "y", "z"]
