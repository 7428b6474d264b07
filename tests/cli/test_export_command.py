import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
from cli.command_line import error_line, kdl_here

from kdl.data import InputSpec, ModelInfo, read_model_info
from kdl.deploy import verify_tflite, write_metadata, write_sidecar
from kdl.training import save_portable


def test_verify(artifacts, tmp_path):
    data = ("--data", "digits")
    done = kdl_here("verify", artifacts / "int8.tflite", artifacts / "model.keras", *data)
    assert done.returncode == 0, done.stderr
    assert "passed as int8, 360 inputs" in done.stdout
    assert "accuracy 0.9" in done.stdout
    model = keras.models.load_model(artifacts / "model.keras")
    model.set_weights([w * 0.9 for w in model.get_weights()])
    model.save(tmp_path / "other.keras")
    done = kdl_here("verify", artifacts / "int8.tflite", tmp_path / "other.keras", *data)
    assert done.returncode == 1
    assert "FAILED" in done.stdout


def test_verify_on_other_classes_tells_no_accuracy(artifacts, image_folder):
    files = (artifacts / "int8.tflite", artifacts / "model.keras")
    done = kdl_here("verify", *files, "--data", image_folder)
    assert "accuracy" not in done.stdout
    assert "accuracy is left out" in done.stderr
    assert "'dark', 'light'" in done.stderr


@pytest.mark.export
def test_export(artifacts, tmp_path):
    target = tmp_path / "again.tflite"
    arguments = ("--quantization", "int8", "--data", "digits", "--target", "gpu")
    done = kdl_here("export", artifacts / "model.keras", target, *arguments, "--sidecar")
    assert done.returncode == 0, done.stderr
    assert "passed as int8" in done.stdout
    assert "Nothing to rewrite for gpu." in done.stdout
    assert f"Converting {artifacts / 'model.keras'} …\n" in done.stderr
    assert read_model_info(target) == read_model_info(artifacts / "model.keras")
    assert '"kind": "int8"' in (tmp_path / "again.tflite.json").read_text()
    done = kdl_here(
        "export", artifacts / "model.keras", tmp_path / "x.tflite", "--quantization", "int8"
    )
    assert "int8 needs --data" in error_line(done)


def describe(file):
    return json.loads(pathlib.Path(write_sidecar(file)).read_text())


def network(*shape, groups=1, dtype=None):
    """A network of two classes that tells light from dark, whatever its input is like."""
    inputs = keras.Input(shape, dtype=dtype)
    x = inputs if dtype is None else keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4 * groups, 3, groups=groups, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


SPECS = {
    "bytes": ((16, 16, 3), InputSpec((16, 16), std=(1 / 255,) * 3)),
    "ImageNet": (
        (16, 16, 3),
        InputSpec((16, 16), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    ),
    "gray, not square, of an open size": (
        (None, None, 1),
        InputSpec((12, 20), 1, mean=(0.5,), std=(0.5,)),
    ),
}


@pytest.mark.export
@pytest.mark.parametrize("kind", SPECS)
def test_data_is_read_as_the_model_wants_it(kind, image_folder, tmp_path):
    shape, spec = SPECS[kind]
    model = network(*shape)
    save_portable(model, tmp_path / "m.keras", ModelInfo(["dark", "light"], spec))
    arguments = (tmp_path / "m.keras", tmp_path / "m.tflite", "--quantization", "int8")
    done = kdl_here("export", *arguments, "--data", image_folder, "--samples", "12")
    assert done.returncode == 0, done.stderr
    assert read_model_info(tmp_path / "m.tflite") == ModelInfo(["dark", "light"], spec)
    # What the file is true to are images as the model wants them.
    inputs = np.stack([spec.load(file) for file in sorted(image_folder.glob("*/[0-9].png"))])
    assert verify_tflite(tmp_path / "m.tflite", model, inputs).sqnr > 25
    [image] = describe(tmp_path / "m.tflite")["inputs"]
    assert 255 * image["quantization"]["scale"] == pytest.approx(np.ptp(inputs), rel=0.2)
    done = kdl_here("verify", tmp_path / "m.tflite", tmp_path / "m.keras", "--data", image_folder)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout


@pytest.mark.export
def test_export_of_a_plain_model(image_folder, tmp_path):
    network(None, None, 4 - 1, groups=3).save(tmp_path / "m.keras")
    (tmp_path / "names.txt").write_text("\ufeffdark\nlight\n\n", encoding="utf-8")
    arguments = ("export", tmp_path / "m.keras", tmp_path / "m.tflite", "--data", image_folder)
    assert "Pass --mean and --std" in error_line(kdl_here(*arguments))
    assert "takes images of any size: pass --size" in error_line(kdl_here(*arguments, "--mean", 0))
    told = ("--mean", "0", "--std", "1/255", "--size", "16x20", "--labels", tmp_path / "names.txt")
    done = kdl_here(*arguments, *told, "--target", "edgetpu")
    assert done.returncode == 0, done.stderr
    assert "convolutions without groups: exact" in done.stdout
    spec = InputSpec((16, 20), std=(1 / 255,) * 3)
    assert read_model_info(tmp_path / "m.tflite") == ModelInfo(["dark", "light"], spec)
    done = kdl_here("predict", tmp_path / "m.tflite", image_folder / "light" / "1.png")
    assert done.returncode == 0, done.stderr
    assert "\tlight\t" in done.stdout


@pytest.mark.export
def test_a_model_that_takes_bytes_needs_no_scale(image_folder, tmp_path):
    network(16, 16, 3, dtype="uint8").save(tmp_path / "m.keras")
    arguments = ("export", tmp_path / "m.keras", tmp_path / "m.tflite", "--data", image_folder)
    done = kdl_here(*arguments)
    assert done.returncode == 0, done.stderr
    info = ModelInfo(["dark", "light"], InputSpec((16, 16), dtype="uint8"))
    assert read_model_info(tmp_path / "m.tflite") == info
    assert 'dtype="uint8" leaves' in error_line(kdl_here(*arguments, "--std", "0.5"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "16y16"], "120x160"),
        (["--size", "0"], "120x160"),
        (["--mean", "gray"], "one a channel"),
        (["--std", "1/0"], "one a channel"),
    ],
)
def test_options_that_are_no_numbers(arguments, message, tmp_path):
    done = kdl_here("export", "m.keras", "m.tflite", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_labels_that_do_not_fit(artifacts, tmp_path):
    (tmp_path / "names.txt").write_text("one\n\ntwo\n")
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    arguments = ("export", artifacts / "model.keras", tmp_path / "m.tflite", "--labels")
    assert "UTF-8) with the name of a class in each line" in error_line(
        kdl_here(*arguments, tmp_path / "names.txt")
    )
    assert "2 labels for a model of 10" in error_line(kdl_here(*arguments, tmp_path / "two.txt"))


def test_an_export_does_not_take_the_place_of_its_model(artifacts, tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(content := (artifacts / "model.keras").read_bytes())
    assert "is read by this command" in error_line(kdl_here("export", path, path))
    assert path.read_bytes() == content


def test_an_export_takes_the_place_of_no_other_kind_of_file(artifacts, tmp_path):
    archive = tmp_path / "photos.zip"
    archive.write_bytes(b"images")
    arguments = ("export", artifacts / "model.keras")
    assert "is read by" in error_line(kdl_here(*arguments, archive, "--data", archive))
    for name in ("photos.zip", "other.keras"):
        assert "call it .tflite" in error_line(kdl_here(*arguments, tmp_path / name))
    assert archive.read_bytes() == b"images"


def test_verify_compares_class_names_and_images_too(artifacts, tmp_path):
    file = tmp_path / "m.tflite"
    file.write_bytes((artifacts / "int8.tflite").read_bytes())
    info = read_model_info(artifacts / "model.keras")
    spec = dataclasses.replace(info.input_spec, mean=(0.01,) * 3)
    write_metadata(file, ModelInfo(info.labels[::-1], spec))
    done = kdl_here("verify", file, artifacts / "model.keras", "--data", "digits")
    assert done.returncode == 1
    assert "FAILED: the file's class names are ['9'" in done.stdout
    assert "FAILED: the file's images are InputSpec(" in done.stdout


def test_verify_takes_rounded_statistics_for_the_same(artifacts, tmp_path):
    """Metadata of other tools has them in float32."""
    file = tmp_path / "m.tflite"
    file.write_bytes((artifacts / "int8.tflite").read_bytes())
    info = read_model_info(artifacts / "model.keras")
    spec = dataclasses.replace(info.input_spec, mean=(1e-8,) * 3)
    write_metadata(file, ModelInfo(info.labels, spec))
    done = kdl_here("verify", file, artifacts / "model.keras", "--data", "digits")
    assert (done.returncode, "FAILED" in done.stdout) == (0, False)


@pytest.mark.export
def test_a_model_for_the_cpu_answers_like_the_model(image_folder, tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3)(inputs))
    x = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    save_portable(model, tmp_path / "m.keras", ModelInfo(["dark", "light"], SPECS["bytes"][1]))
    files = (tmp_path / "m.keras", tmp_path / "m.tflite")
    done = kdl_here("export", *files, "--target", "cpu", "--data", image_folder)
    assert done.returncode == 0, done.stderr
    assert "padding by the lowest number: exact" in done.stdout
    done = kdl_here("verify", *reversed(files), "--data", image_folder)
    assert done.returncode == 0, done.stderr
    assert "passed as float32" in done.stdout


@pytest.mark.export
def test_a_model_of_several_inputs_is_exported_but_takes_no_folder(three, tmp_path):
    inputs = [keras.Input((8, 8, 3), name="image"), keras.Input((2,), name="row")]
    pooled = keras.layers.GlobalAveragePooling2D()(inputs[0])
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([pooled, inputs[1]]))
    model, file = tmp_path / "m.keras", tmp_path / "m.tflite"
    keras.Model(inputs, outputs).save(model)
    done = kdl_here("export", model, file)
    assert done.returncode == 0, done.stderr
    for arguments in (
        ("export", model, file, "--data", "digits"),
        ("export", model, file, "--mean", "0"),
        ("verify", file, model, "--data", "digits"),
        ("predict", model, three),
    ):
        message = error_line(kdl_here(*arguments))
        assert "takes 2 inputs, ['image', 'row'], and the command reads images alone" in message
    assert "TFLiteRunner" in error_line(kdl_here("predict", file, three))
