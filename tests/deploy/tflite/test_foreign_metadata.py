"""Metadata as other tools write it, in files without `kdl.json`."""

import zipfile

import numpy as np
import pytest
from mutation import assert_survives, mutations
from tiny_tflite import FLOAT, TinyFile

from kdl.data import InputSpec, ModelInfo
from kdl.deploy import ImageClassifier, write_metadata, write_sidecar
from kdl.deploy.tflite.file import parse_tflite
from kdl.deploy.tflite.metadata import _with_metadata, find_info
from kdl.deploy.tflite.metadata_schema import COLOR_SPACES, TENSOR_AXIS_LABELS, pack

NAMES = ["zéro", "one", "two"]
LABELS = "\n".join(NAMES)
SCALE = ("NormalizationOptions", {"mean": [127.5], "std": [127.5]})


def description(options=SCALE, files=({"name": "labels.txt"},)):
    image = ("ImageProperties", {"color_space": COLOR_SPACES["RGB"]})
    units = [{"options": options}] if options else []
    inputs = {"content": {"content_properties": image}, "process_units": units}
    files = [{"type": TENSOR_AXIS_LABELS, **file} for file in files]
    outputs = {"associated_files": files}
    graph = {"input_tensor_metadata": [inputs], "output_tensor_metadata": [outputs]}
    return {"name": "m", "subgraph_metadata": [graph]}


def write(path, metadata, labels=LABELS, name="labels.txt", kind=FLOAT, scale=None):
    """A classifier of three classes on images (1, 4, 4, 3), described by `metadata`."""
    tiny = TinyFile()
    x = tiny.tensor((1, 4, 4, 3), kind)
    if scale:
        tiny.tensors[x].quantization.scale, tiny.tensors[x].quantization.zeroPoint = scale
    image = tiny.apply("DEQUANTIZE", [x], ((1, 4, 4, 3), FLOAT)) if scale else x
    axes = tiny.constant(np.int32([1, 2]))
    y = tiny.apply("MEAN", [image, axes], ((1, 3), FLOAT))
    tiny.write(path, [x], [y])
    path.write_bytes(_with_metadata(parse_tflite(path), metadata))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, labels)
    return path


@pytest.mark.parametrize(
    "labels",
    [
        "\n".join(NAMES) + "\n\n\n",
        "\r\n".join(NAMES) + "\r\n",
        "\n\n".join(NAMES),
        "\ufeff" + "\n".join(NAMES),
    ],
    ids=["blank lines at the end", "Windows", "blank lines between", "byte order mark"],
)
def test_labels_are_read_as_other_readers_do(labels, tmp_path):
    path = write(tmp_path / "m.tflite", description(), labels)
    assert find_info(path).labels == NAMES
    assert len(ImageClassifier(path).predict(np.zeros((9, 9, 3), "uint8"))) == 3


def test_of_several_languages_the_one_without_a_name_counts(tmp_path):
    files = ({"name": "de.txt", "locale": "de"}, {"name": "labels.txt"})
    assert find_info(write(tmp_path / "m.tflite", description(files=files))).labels == NAMES
    only = ({"name": "de.txt", "locale": "de"}, {"name": "fr.txt", "locale": "fr"})
    german = write(tmp_path / "n.tflite", description(files=only), name="de.txt")
    assert find_info(german).labels == NAMES


@pytest.mark.parametrize(
    ("metadata", "labels", "message"),
    [
        (description(), "z\xe9ro\none\ntwo".encode("latin-1"), "labels.txt that are not UTF-8"),
        (description(), "a\n \nb", "blank labels in labels.txt"),
        (
            description(("NormalizationOptions", {"mean": [0.0], "std": [0.0]})),
            "a\nb\nc",
            "std must be positive",
        ),
        (
            description(("NormalizationOptions", {"mean": [1.0, 2.0], "std": [1.0]})),
            "a\nb\nc",
            "does not say how an image becomes its input",
        ),
        (
            description(("NormalizationOptions", {"mean": [float("nan")], "std": [1.0]})),
            "a\nb\nc",
            "must be 3 finite numbers",
        ),
    ],
)
def test_what_cannot_be_used_is_left_out_with_a_warning(metadata, labels, message, tmp_path):
    path = write(tmp_path / "m.tflite", metadata, labels)
    with pytest.warns(UserWarning, match=rf"m\.tflite.*{message}"):
        runner = ImageClassifier(path)
    assert len(runner.predict(np.zeros((1, 4, 4, 3), "float32"))[0]) == 3


@pytest.mark.parametrize("options", [None, ("NormalizationOptions", {"mean": [0.0], "std": [1.0]})])
def test_bytes_go_into_uint8_files_as_they_are(options, tmp_path):
    metadata = description(options)
    path = write(tmp_path / "m.tflite", metadata, kind="UINT8", scale=([1 / 128], [128]))
    spec = find_info(path).input_spec
    np.testing.assert_allclose(spec.normalize(np.uint8([[20] * 3])), (20 - 128) / 128, rtol=1e-6)
    answers = ImageClassifier(path).predict(np.full((4, 4, 3), 20, "uint8"))
    assert answers[0].score == pytest.approx((20 - 128) / 128, abs=1e-6)


@pytest.mark.parametrize("options", [None, SCALE])
def test_bytes_go_into_uint8_files_without_a_scale_as_they_are(options, tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 4, 4, 3), "UINT8", scale=0)
    image = tiny.apply("CAST", [x], ((1, 4, 4, 3), FLOAT))
    y = tiny.apply("MEAN", [image, tiny.constant(np.int32([1, 2]))], ((1, 3), FLOAT))
    path = tiny.write(tmp_path / "m.tflite", [x], [y])
    path.write_bytes(_with_metadata(parse_tflite(path), description(options, files=())))
    assert find_info(path).input_spec == InputSpec((4, 4), dtype="uint8")
    answers = ImageClassifier(path).predict(np.full((4, 4, 3), 7, "uint8"))
    assert [answer.score for answer in answers] == [7] * 3


@pytest.mark.parametrize("label", [7, None, b"x", "", " ", "a\nb", "a\u2028b", "a\r", "\udcff"])
def test_labels_that_are_no_lines_are_refused(label):
    with pytest.raises(ValueError, match=r"text of one line that is not blank.*as label 1"):
        ModelInfo(["a", label])


@pytest.mark.parametrize("labels", ["abc", 3, {"a": 1}])
def test_labels_that_are_no_list_are_refused(labels):
    with pytest.raises(ValueError, match="must be a list of texts"):
        ModelInfo(labels)


def test_a_file_that_unpacks_to_far_more_is_refused_at_once(tmp_path):
    path = write(tmp_path / "m.tflite", description())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.bin", bytes(80 << 20))
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"more\.bin from .*m\.tflite.*no honest file"):
        write_metadata(path, ModelInfo(NAMES))
    assert assert_survives(lambda p: write_metadata(p, ModelInfo(NAMES)), path, [content], 8 << 20)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"labels": [1], "input_spec": null}', b"\xff" * 9]
)
def test_a_damaged_description_of_our_own_names_the_file(content, tmp_path):
    path = write(tmp_path / "m.tflite", description())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("kdl.json", content)
    with pytest.raises(ValueError, match=r"m\.tflite holds a damaged kdl\.json"):
        find_info(path)


def test_random_damage_of_metadata_is_survived(tmp_path):
    path = write(tmp_path / "m.tflite", description())
    content, part = path.read_bytes(), pack(description())
    assert content.count(part) == 1
    changes = (changed[: len(part)].ljust(len(part), b"\0") for changed in mutations(part, 200))
    damaged = [content.replace(part, changed) for changed in changes]
    for use in (find_info, write_sidecar):
        assert assert_survives(use, path, damaged)


def test_random_damage_of_the_archive_is_survived(tmp_path):
    path = write(tmp_path / "m.tflite", description())
    write_metadata(path, ModelInfo(NAMES, InputSpec((4, 4))))
    content = path.read_bytes()
    start = content.index(b"PK\x03\x04")
    damaged = [content[:start] + tail for tail in mutations(content[start:], 150)]
    for use in (find_info, write_sidecar):
        assert assert_survives(use, path, damaged)
