import io
import subprocess
import sys

import keras
import numpy as np
import pytest
from deploy.segmenters import KERNEL, pooled_file, scores_file, several_outputs_file
from PIL import Image

import kdl
from kdl.data import InputSpec, ModelInfo, set_model_info
from kdl.deploy import ImageSegmenter, TFLiteRunner, write_metadata

NAMES = ["red", "green", "blue"]
SPEC = InputSpec((8, 8))


@pytest.fixture
def path(tmp_path):
    path = scores_file(tmp_path / "m.tflite")
    write_metadata(path, ModelInfo(NAMES, SPEC))
    return path


@pytest.fixture
def image():
    """The left half red, then a quarter green and a quarter blue."""
    pixels = np.zeros((40, 60, 3), "uint8")
    pixels[:, :30, 0] = pixels[:, 30:45, 1] = pixels[:, 45:, 2] = 255
    return pixels


def test_label_map_has_the_size_of_the_image(path, image):
    segmentation = ImageSegmenter(path).predict(image)
    assert segmentation.label_map.shape == (40, 60)
    np.testing.assert_array_equal(segmentation.label_map, image.argmax(-1))
    assert [(one.label, one.index, one.share) for one in segmentation.shares] == [
        ("red", 0, 0.5),
        ("green", 1, 0.25),
        ("blue", 2, 0.25),
    ]


def test_one_image_in_every_form(path, image, tmp_path):
    segmenter = ImageSegmenter(path)
    pil = Image.fromarray(image)
    pil.save(tmp_path / "m.png")
    content = (tmp_path / "m.png").read_bytes()
    expected = image.argmax(-1)

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    for form in (tmp_path / "m.png", str(tmp_path / "m.png"), io.BytesIO(content), Pipe(content)):
        np.testing.assert_array_equal(segmenter.predict(form).label_map, expected)
    for several in ([pil, image], (pil, image), np.stack([image] * 2)):
        results = segmenter.predict(several)
        assert len(results) == 2
        for one in results:
            np.testing.assert_array_equal(one.label_map, expected)
    assert segmenter.predict([]) == []


def test_float_input_is_finished(path):
    inputs = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    [scores] = TFLiteRunner(path).predict(inputs)
    results = ImageSegmenter(path).predict(inputs)
    for one, expected in zip(results, scores, strict=True):
        np.testing.assert_array_equal(one.label_map, expected.argmax(-1))
    with pytest.raises(ValueError, match=r"float input of shape \(8, 8, 3\)"):
        ImageSegmenter(path).predict(inputs[:, :4])


def test_orientation_of_a_photograph_counts(path, image, tmp_path):
    """A camera's file that lies on its side gives a label map that stands."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image)).save(tmp_path / "m.png", exif=exif)
    label_map = ImageSegmenter(path).predict(tmp_path / "m.png").label_map
    np.testing.assert_array_equal(label_map, image.argmax(-1))


def test_coarse_scores_are_resized_before_the_class_is_taken(tmp_path):
    """Pillow's bilinear filter is the reference."""
    path = pooled_file(tmp_path / "m.tflite")
    write_metadata(path, ModelInfo(NAMES, SPEC))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), "uint8")
    large = np.asarray(Image.fromarray(pixels).resize((21, 30), Image.Resampling.NEAREST))
    [[scores]] = TFLiteRunner(path).predict(SPEC.load(large)[None])
    channels = [
        Image.fromarray(channel).resize((21, 30), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(scores, -1, 0).copy()
    ]
    expected = np.stack([np.asarray(channel) for channel in channels], -1)
    label_map = ImageSegmenter(path).predict(large).label_map
    assert len(np.unique(label_map)) == 3
    np.testing.assert_array_equal(label_map, expected.argmax(-1))


def test_large_images_are_done_in_strips(monkeypatch, path, image):
    whole = ImageSegmenter(path).predict(image).label_map
    monkeypatch.setattr("kdl.deploy.runtime._label_maps._STRIP", 7 * 60 * 3)
    np.testing.assert_array_equal(ImageSegmenter(path).predict(image).label_map, whole)


def test_file_that_gives_label_maps(tmp_path, image):
    path = scores_file(tmp_path / "m.tflite", argmax=True)
    write_metadata(path, ModelInfo(None, SPEC))
    segmenter = ImageSegmenter(path)
    assert segmenter.labels == []
    assert repr(segmenter) == f"<ImageSegmenter: {path}, input 8×8×3, label maps>"
    result = segmenter.predict(image)
    np.testing.assert_array_equal(result.label_map, image.argmax(-1))
    assert [one.label for one in result.shares] == ["0", "1", "2"]
    write_metadata(path, ModelInfo(NAMES, SPEC))
    assert [one.label for one in ImageSegmenter(path).predict(image).shares] == NAMES


def test_nearest_label_of_a_label_map(tmp_path, monkeypatch):
    """Pillow is the reference; of seven pixels none of the result lies halfway between two."""
    path = scores_file(tmp_path / "m.tflite", size=(7, 7), argmax=True)
    spec = InputSpec((7, 7))
    write_metadata(path, ModelInfo(NAMES, spec))
    pixels = np.random.default_rng(0).integers(0, 256, (7, 7, 3), "uint8")
    monkeypatch.setattr(InputSpec, "load", lambda self, image: spec.normalize(pixels))
    labels = Image.fromarray(pixels.argmax(-1).astype("uint8"))
    label_map = ImageSegmenter(path).predict(np.zeros((4, 22, 3), "uint8")).label_map
    expected = labels.resize((22, 4), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(label_map, np.asarray(expected))


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (8.0, -4.0)])
def test_one_score_parts_two_classes(tmp_path, scale, offset):
    """Probabilities are told from logits by their range."""
    kernel = np.full((1, 1, 1, 3), scale / 3, "float32")
    path = scores_file(tmp_path / "m.tflite", kernel=kernel)
    write_metadata(path, ModelInfo(["ground", "road"], SPEC))
    inputs = np.random.default_rng(0).random((8, 8, 3), "float32")
    inputs = inputs + np.float32(offset / scale)
    [[score]] = TFLiteRunner(path).predict(inputs[None])
    label_map = ImageSegmenter(path).predict(inputs).label_map
    np.testing.assert_array_equal(label_map, score[..., 0] > (0.5 if offset == 0 else 0))
    assert 0 < label_map.mean() < 1


def test_batch_of_the_file(tmp_path, image):
    path = scores_file(tmp_path / "m.tflite", batch=2)
    write_metadata(path, ModelInfo(NAMES, SPEC))
    results = ImageSegmenter(path).predict([image, image[::-1].copy(), image])
    np.testing.assert_array_equal(results[1].label_map, image[::-1].argmax(-1))
    np.testing.assert_array_equal(results[2].label_map, image.argmax(-1))


def test_main_output_of_several(tmp_path):
    inputs = np.eye(3, dtype="float32")[np.random.default_rng(0).integers(0, 3, (8, 8))]
    path = several_outputs_file(tmp_path / "m.tflite", ("auxiliary", "main"))
    label_map = ImageSegmenter(path).predict(inputs).label_map
    np.testing.assert_array_equal(label_map, (-inputs).argmax(-1))
    path = several_outputs_file(tmp_path / "n.tflite")
    with pytest.raises(ValueError, match=r"no segmenter: expected one output .*'y0': \(1, 8, 8, 3"):
        ImageSegmenter(path)


def test_classifier_is_no_segmenter(artifacts):
    with pytest.raises(ValueError, match=r"no segmenter: .*probabilities.*\(1, 10\)"):
        ImageSegmenter(artifacts / "int8.tflite")


def test_labels_that_do_not_fit(tmp_path):
    path = scores_file(tmp_path / "m.tflite")
    kdl.data.write_model_info(path, ModelInfo(["a", "b"], SPEC))
    with pytest.raises(ValueError, match="2 labels for 3 classes"):
        ImageSegmenter(path)


def test_file_that_says_nothing(tmp_path, image):
    segmenter = ImageSegmenter(scores_file(tmp_path / "m.tflite"))
    assert segmenter.labels == ["0", "1", "2"]
    assert repr(segmenter).endswith("m.tflite, input 8×8×3, 3 classes>")
    with pytest.raises(ValueError, match=r"does not say how an image.*input_spec="):
        segmenter.predict(image)


def test_missing_files(path, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        ImageSegmenter(path).predict(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError, match=r"missing\.tflite"):
        ImageSegmenter(tmp_path / "missing.tflite")


def keras_segmenter(outputs=lambda y: y, size=(8, 8)):
    """The network of the files, in Keras."""
    inputs = keras.Input((*size, 3))
    conv = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(inputs, outputs(conv(inputs)))
    conv.set_weights([KERNEL.transpose(1, 2, 3, 0)])
    set_model_info(model, ModelInfo(NAMES, SPEC))
    return model


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "outputs",
    [
        lambda y: y,
        lambda y: {"main": y, "auxiliary": -y},
        lambda y: keras.ops.argmax(y, -1),
        lambda y: [y, keras.layers.GlobalAveragePooling2D()(y)],
    ],
    ids=["logits", "heads", "label_map", "list"],
)
def test_keras_model_gives_the_same_label_map(path, image, outputs):
    expected = ImageSegmenter(path).predict(image).label_map
    segmenter = ImageSegmenter(keras_segmenter(outputs))
    np.testing.assert_array_equal(segmenter.predict(image).label_map, expected)
    assert segmenter.labels == NAMES


def test_keras_model_of_any_size(image):
    """What takes images of any size is fed as its input specification says."""
    segmenter = ImageSegmenter(keras_segmenter(size=(None, None)))
    assert repr(segmenter).endswith(", input ?×?×3, 3 classes>")
    np.testing.assert_array_equal(segmenter.predict(image).label_map, image.argmax(-1))


def test_spnet_is_a_segmenter(image):
    backbone = kdl.applications.ShuffleNetV2(
        0.5, include_top=False, output_stride=8, input_shape=(32, 48, 3)
    )
    model = kdl.segmentation.SPNet(backbone, classes=3, width=16, pool_sizes=(3, 2))
    set_model_info(model, ModelInfo(NAMES, InputSpec((32, 48))))
    segmentation = ImageSegmenter(model).predict(image)
    assert segmentation.label_map.shape == (40, 60)
    assert segmentation.class_names == NAMES


@pytest.mark.parametrize("model", [keras.Model(), 3])
def test_what_is_no_model(model):
    with pytest.raises(ValueError, match=r"path of a \.tflite file, or a built functional"):
        ImageSegmenter(model)


@pytest.mark.long
@pytest.mark.export
def test_exported_network_carries_its_names(tmp_path, image):
    model = keras_segmenter()
    proof = kdl.deploy.export_tflite(model, tmp_path / "m.tflite")
    assert proof.passed
    segmenter = ImageSegmenter(tmp_path / "m.tflite")
    assert segmenter.labels == NAMES
    np.testing.assert_array_equal(segmenter.predict(image).label_map, image.argmax(-1))
    with pytest.raises(ValueError, match="2 labels for a model of 3 classes"):
        kdl.deploy.export_tflite(model, tmp_path / "n.tflite", labels=["a", "b"])


ALONE = """
import sys
for name in ("keras", "tensorflow", "jax", "torch"):
    sys.modules[name] = None  # to import it is an error
import kdl, kdl.deploy
segmenter = kdl.deploy.ImageSegmenter(sys.argv[1])
segmentation = segmenter.predict(sys.argv[2])
segmentation.save(sys.argv[3])
segmentation.save_overlay(sys.argv[3], sys.argv[2])
print(segmentation.shares[0].label)
print(sorted({name.split(".")[0] for name in sys.modules} & {"sklearn", "matplotlib", "h5py"}))
"""


def test_neither_keras_nor_tensorflow_is_needed(path, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "image.png")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, path, tmp_path / "image.png", tmp_path / "out.png"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["red", "[]"]


def test_of_a_keras_model_with_a_list_of_outputs_that_called_main_is_read():
    inputs = keras.Input((8, 8, 3))
    auxiliary, main = (
        keras.layers.Conv2D(3, 1, data_format="channels_last", name=name)(inputs)
        for name in ("aux", "main")
    )
    model = keras.Model(inputs, [auxiliary, main])
    images = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    results = ImageSegmenter(model).predict(images)
    for one, expected in zip(results, model.predict(images, verbose=0)[1], strict=True):
        np.testing.assert_array_equal(one.label_map, expected.argmax(-1))
