import io
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_tflite import FLOAT, TinyFile, unscaled_file

import kdl
from kdl.data import InputSpec, ModelInfo, set_model_info, write_model_info
from kdl.deploy import Classification, ImageClassifier, TFLiteRunner


@pytest.fixture(scope="module")
def files(root):
    return root / "saved_models" / "quickstart"


@pytest.fixture(scope="module")
def runner(files):
    return ImageClassifier(files / "int8.tflite")


@pytest.fixture(scope="module")
def digits():
    _, (images, labels) = kdl.data.digits(size=48)
    return images[:20], labels[:20]


@pytest.fixture(scope="module")
def image(digits):
    return np.round(digits[0][1] * 255).astype("uint8")


def without_info(source, path):
    """The same file, its archive cut off."""
    content = source.read_bytes()
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    return path


def test_float_batch_is_what_the_file_says(files, digits):
    runner = ImageClassifier(files / "float32.tflite", threads=2)
    answers = runner.predict(digits[0], top=10)
    [scores] = TFLiteRunner(files / "float32.tflite").predict(digits[0])
    assert len(answers) == 20
    for row, expected in zip(answers, scores, strict=True):
        assert [answer.index for answer in row] == np.argsort(-expected).tolist()
        assert [answer.score for answer in row] == sorted(expected.tolist(), reverse=True)
        assert all(answer.label == str(answer.index) for answer in row)
    assert np.mean([row[0].index for row in answers] == digits[1]) >= 0.95


def test_one_image_in_every_form(runner, image, tmp_path):
    """The bytes are the same whatever brings them, so the answers are."""
    pil = Image.fromarray(image)
    pil.save(tmp_path / "six.png")
    opened = io.BytesIO((tmp_path / "six.png").read_bytes())
    expected = runner.predict(image)
    assert expected[0] == Classification("6", 6, expected[0].score)
    assert expected[0].score > 0.9
    assert len(expected) == 3
    for form in (tmp_path / "six.png", str(tmp_path / "six.png"), opened, pil, image[..., 0]):
        assert runner.predict(form) == expected
    assert runner.predict([pil, image]) == [expected] * 2
    assert runner.predict((image,)) == [expected]
    assert runner.predict(np.stack([image] * 2)) == [expected] * 2
    assert runner.predict([]) == []
    assert runner.predict(image, top=99) == runner.predict(image, top=10)


def test_other_sizes_are_resized_as_files_are(runner, image, tmp_path):
    large = np.kron(image, np.ones((3, 2, 1), "uint8"))
    Image.fromarray(large).save(tmp_path / "large.png")
    assert runner.predict(large, 1) == runner.predict(tmp_path / "large.png", 1)
    assert runner.predict(large, 1)[0].label == "6"


def test_the_classification_is_frozen(runner, image):
    with pytest.raises(AttributeError):
        runner.predict(image)[0].score = 1.0


def test_mean_and_color_come_from_the_file(files, image, tmp_path):
    """A file that says bgr and another mean gets other numbers from the same image."""
    path = without_info(files / "float32.tflite", tmp_path / "other.tflite")
    spec = InputSpec((48, 48), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), color="bgr")
    write_model_info(path, ModelInfo([*"abcdefghij"], spec))
    red = image * np.array([1, 0, 0], "uint8")
    answers = ImageClassifier(path).predict(red, top=10)
    by_hand = (red[..., ::-1] / 255 - spec.mean) / spec.std
    [scores] = TFLiteRunner(path).predict(by_hand[None])
    assert [a.label for a in answers] == ["abcdefghij"[i] for i in np.argsort(-scores[0])]
    np.testing.assert_allclose([a.score for a in answers], -np.sort(-scores[0]), atol=1e-5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 8, 3)), r"float input of shape \(48, 48, 3\); received float64 of shape"),
        (np.zeros((48, 48, 3), "int64"), "received int64"),
        (np.full((48, 48, 3), np.nan), "NaN"),
        (np.zeros((4, 4, 2), "uint8"), r"received uint8 of shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), "uint8"), "is empty"),
        ([np.zeros((48, 48, 3)), np.zeros((1, 48, 48, 3))], r"of shape \(1, 48, 48, 3\)"),
    ],
)
def test_arrays_that_are_no_input(runner, images, message):
    with pytest.raises(ValueError, match=message):
        runner.predict(images)


@pytest.mark.parametrize("top", [0, -1, 1.5, True])
def test_bad_top(runner, image, top):
    with pytest.raises(ValueError, match="top must be a positive integer"):
        runner.predict(image, top)


def test_bad_files(runner, files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        runner.predict(tmp_path / "missing.png")
    with pytest.raises(FileNotFoundError, match=r"missing\.tflite"):
        ImageClassifier(tmp_path / "missing.tflite")
    (tmp_path / "cut.tflite").write_bytes((files / "int8.tflite").read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged or truncated"):
        ImageClassifier(tmp_path / "cut.tflite")


def test_one_number_an_image_is_no_classifier(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 1))
    path = tiny.write(tmp_path / "m.tflite", [x], [tiny.apply("LOGISTIC", [x], ((1, 1), FLOAT))])
    with pytest.raises(ValueError, match=r"no classifier: .* two classes or more"):
        ImageClassifier(path)


@pytest.mark.parametrize(
    ("kind", "scores", "order"),
    [
        ("UINT8", [0, 200, 1], [1, 2, 0]),
        ("INT8", [0, -128, 127], [2, 0, 1]),
        ("BOOL", [False, True, False], [1, 0, 2]),
    ],
)
def test_scores_without_a_scale_are_ordered(kind, scores, order, tmp_path):
    classifier = ImageClassifier(unscaled_file(tmp_path / "m.tflite", kind))
    found = classifier.predict(np.float32(scores))
    assert [one.index for one in found] == order
    assert [one.score for one in found] == [scores[place] for place in order]


def test_a_model_of_integers_gets_the_bytes_that_an_image_has():
    """In float32, 7 / 255 / (1 / 255) is 6.9999995, which a cast makes 6."""
    inputs = keras.Input((2, 2, 3), dtype="uint8")
    x = keras.layers.Rescaling(1.0)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
    set_model_info(model, ModelInfo(None, InputSpec((2, 2), std=(1 / 255,) * 3)))
    classifier = ImageClassifier(model)
    assert [one.score for one in classifier.predict(np.full((2, 2, 3), 7, "uint8"))] == [7] * 3
    with pytest.raises(ValueError, match=r"must hold whole numbers, since uint8 is taken"):
        classifier.predict(np.full((2, 2, 3), 0.3))


def test_a_file_that_says_nothing(files, digits, image, tmp_path):
    runner = ImageClassifier(without_info(files / "int8.tflite", tmp_path / "m.tflite"))
    assert runner.predict(digits[0][0], 1)[0].label == "7"
    with pytest.raises(ValueError, match=r"does not say how an image.*input_spec="):
        runner.predict(image)


def test_info_that_does_not_fit(files, tmp_path):
    path = without_info(files / "int8.tflite", tmp_path / "m.tflite")
    write_model_info(path, ModelInfo(["a", "b"]))
    with pytest.raises(ValueError, match="2 labels for 10 classes"):
        ImageClassifier(path)
    path = without_info(files / "int8.tflite", path)
    write_model_info(path, ModelInfo(None, InputSpec((32, 32))))
    with pytest.raises(ValueError, match=r"describes them as \(32, 32, 3\)"):
        ImageClassifier(path)


ALONE = """
import sys
for name in ("keras", "tensorflow", "jax", "torch"):
    sys.modules[name] = None  # to import it is an error
import kdl, kdl.data, kdl.deploy
runner = kdl.deploy.ImageClassifier(sys.argv[1])
print(runner.predict(sys.argv[2], top=1)[0].label)
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"sklearn", "matplotlib", "rich", "h5py"}))
try:
    kdl.deploy.export_tflite
except ImportError as error:
    print("no keras" if "keras" in str(error) else error)
"""


def test_neither_keras_nor_tensorflow_is_needed(files, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "six.png")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, files / "int8.tflite", tmp_path / "six.png"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["6", "[]", "no keras"]


def test_a_runner_tells_its_labels_and_its_input(runner, files, tmp_path):
    assert runner.labels == list("0123456789")
    assert runner.input_shape == (1, 48, 48, 3)
    assert repr(runner) == f"<ImageClassifier: {files / 'int8.tflite'}, input 48×48×3, 10 classes>"
    assert (
        ImageClassifier(without_info(files / "int8.tflite", tmp_path / "m.tflite")).labels[7] == "7"
    )
