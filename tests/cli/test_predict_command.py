import csv
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from cli.command_line import error_line, kdl_here
from deploy.segmenters import KERNEL, pooled_file, scores_file
from PIL import Image

from kdl.data import InputSpec, ModelInfo
from kdl.deploy import write_metadata
from kdl.training import save_portable


def rows(done):
    """The lines of a table after its headings."""
    head, *lines = done.stdout.splitlines()
    assert head == "image\tclass\tscore"
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("name", ["model.keras", "int8.tflite"])
def test_predict(artifacts, three, name):
    done = kdl_here("predict", artifacts / name, three, "--top", "1")
    assert done.returncode == 0, done.stderr
    [[image, label, score]] = rows(done)
    assert (image, label) == (str(three), "3")
    assert 0.9 < float(score) <= 1
    as_option = kdl_here("predict", three, "--model", artifacts / name, "--top", "1")
    assert as_option.stdout == done.stdout


def test_predict_several_images(artifacts, three, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "black.png")
    done = kdl_here("predict", artifacts / "int8.tflite", three, tmp_path / "black.png")
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in rows(done)] == [str(three)] * 3 + [str(tmp_path / "black.png")] * 3


@pytest.mark.parametrize("name", ["model.keras", "int8.tflite"])
def test_what_cannot_be_read_is_told_beside_the_results(
    artifacts, three, image_folder, tmp_path, name
):
    (image_folder / "readme.txt").write_text("no image, and not called one")
    (tmp_path / "empty").mkdir()
    arguments = (three, tmp_path / "missing.png", image_folder, tmp_path / "empty", "--top", "1")
    done = kdl_here("predict", artifacts / name, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    # Eight images in each of two folders; a truncated one and a text are no images.
    assert len(rows(done)) == 17
    assert rows(done)[0][:2] == [str(three), "3"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 4
    for text in ("missing.png", "cut.png", "notes.jpg", "empty holds no images"):
        assert sum(text in line for line in errors) == 1


def test_predict_as_json_and_csv(artifacts, three):
    done = kdl_here("predict", artifacts / "int8.tflite", three, "--json")
    [image] = json.loads(done.stdout)
    assert image["image"] == str(three)
    assert image["classes"][0]["label"] == "3"
    assert image["classes"][0]["index"] == 3
    done = kdl_here("predict", artifacts / "int8.tflite", three, "--csv")
    table = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["class"] for row in table] == [answer["label"] for answer in image["classes"]]
    assert float(table[0]["score"]) == image["classes"][0]["score"]


LABELS = [
    "dog [puppy]",
    "[apple]",
    "[bold]x",
    "[/close]",
    ":dog:",
    "größe 猫 🐶",
    "\x1b[31mred\x07",
]
SHOWN = [*LABELS[:-1], r"\x1b[31mred\x07"]


@pytest.fixture
def scene(tmp_path):
    """An image, three quarters of it red and one blue."""
    pixels = np.zeros((20, 40, 3), "uint8")
    pixels[:, :30, 0] = pixels[:, 30:, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


@pytest.fixture(params=["segmenter.tflite", "segmenter.keras"])
def segmenter(request, tmp_path):
    """A network whose three classes are the colors, as a file of either kind."""
    path, info = tmp_path / request.param, ModelInfo(["red", "green", "blue"], InputSpec((8, 8)))
    if path.suffix == ".tflite":
        scores_file(path)
        write_metadata(path, info)
        return path
    inputs = keras.Input((8, 8, 3))
    conv = keras.layers.Conv2D(3, 1, use_bias=False)
    model = keras.Model(inputs, conv(inputs))
    conv.set_weights([KERNEL.transpose(1, 2, 3, 0)])
    save_portable(model, path, info)
    return path


def test_predict_shares_of_classes(segmenter, scene, tmp_path):
    done = kdl_here("predict", segmenter, scene)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "image\tclass\tshare",
        f"{scene}\tred\t0.750",
        f"{scene}\tblue\t0.250",
    ]
    done = kdl_here("predict", segmenter, scene, "--top", "1", "--csv")
    assert done.stdout.splitlines() == ["image,class,share", f"{scene},red,0.75"]
    [found] = json.loads(kdl_here("predict", segmenter, scene, "--json").stdout)
    assert found["image"] == str(scene)
    assert found["classes"][1] == {"label": "blue", "index": 2, "share": 0.25}


def test_predict_writes_label_maps(segmenter, scene, tmp_path):
    """Those of a folder's images lie as the images do."""
    (tmp_path / "scenes" / "near").mkdir(parents=True)
    (tmp_path / "scenes" / "near" / "a.png").write_bytes(scene.read_bytes())
    folder = tmp_path / "maps"
    done = kdl_here("predict", segmenter, scene, tmp_path / "scenes", "--output", folder)
    assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert files == ["near/a.png", "scene.png"]
    with Image.open(scene) as image, Image.open(folder / "scene.png") as label_map:
        np.testing.assert_array_equal(np.asarray(label_map), np.asarray(image).argmax(-1))


def test_hidden_files_and_folders_called_images_are_left_out(segmenter, scene, tmp_path):
    folder = tmp_path / "scenes"
    hidden = ("._a.png", ".thumbnails/a.png", "__MACOSX/near/._a.png")
    for name in ("near/a.png", "b.jpg/c.png", *hidden):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(scene.read_bytes())
    done = kdl_here("predict", segmenter, folder, "--top", 1)
    assert done.returncode == 0, done.stderr
    seen = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
    assert seen == [str(folder / "b.jpg" / "c.png"), str(folder / "near" / "a.png")]


def test_links_to_nowhere_are_told(segmenter, scene, tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "a.png").write_bytes(scene.read_bytes())
    (folder / "b.png").symlink_to(tmp_path / "missing.png")
    done = kdl_here("predict", segmenter, folder, "--top", 1)
    assert done.returncode == 1
    assert "b.png" in done.stderr


@pytest.mark.parametrize("output", [".", "maps", "near/../maps"])
def test_label_maps_among_the_images_are_refused(output, segmenter, scene, tmp_path):
    folder = tmp_path / "scenes"
    (folder / "near").mkdir(parents=True)
    (folder / "near" / "a.png").write_bytes(scene.read_bytes())
    done = kdl_here("predict", segmenter, folder, "--output", folder / output)
    assert "pass --output with a folder elsewhere" in error_line(done)
    assert [path.name for path in folder.rglob("*")] == ["near", "a.png"]


def test_label_maps_replace_no_images(segmenter, scene, tmp_path):
    before = scene.read_bytes()
    done = kdl_here("predict", segmenter, scene, "--output", tmp_path)
    assert "scene.png is read by this command" in error_line(done)
    assert scene.read_bytes() == before
    (tmp_path / "scene.jpg").write_bytes(before)
    done = kdl_here("predict", segmenter, scene, tmp_path / "scene.jpg", "--output", tmp_path / "m")
    assert "scene.png and" in error_line(done)
    assert not (tmp_path / "m").exists()


def test_output_of_a_classifier_is_an_error(artifacts, three, tmp_path):
    done = kdl_here("predict", artifacts / "int8.tflite", three, "--output", tmp_path / "m")
    assert "--output is for label maps" in error_line(done)


def test_task_that_cannot_be_told_is_asked_for(scene, tmp_path):
    path = pooled_file(tmp_path / "coarse.tflite")
    write_metadata(path, ModelInfo(None, InputSpec((8, 8))))
    message = error_line(kdl_here("predict", path, scene))
    assert "Say which: --task classifier or --task segmenter." in message
    done = kdl_here("predict", path, scene, "--task", "segmenter")
    assert done.stdout.splitlines()[1].split("\t")[1:] == ["0", "0.750"]
    assert "--task must be" in error_line(kdl_here("predict", path, scene, "--task", "detector"))


def test_labels_are_shown_as_they_are_and_control_nothing(three, tmp_path):
    inputs = keras.Input((8, 8, 3))
    scores = keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(inputs))
    odd = tmp_path / "odd.keras"
    save_portable(keras.Model(inputs, scores), odd, ModelInfo(LABELS, InputSpec((8, 8))))
    done = kdl_here("predict", odd, three, "--top", "7")
    assert done.returncode == 0, done.stderr
    assert sorted(row[1] for row in rows(done)) == sorted(SHOWN)


def test_names_of_files_control_nothing(artifacts, tmp_path):
    odd = tmp_path / "\x1b[31m[bold].png"
    odd.write_text("no image")
    done = kdl_here("predict", artifacts / "int8.tflite", odd)
    assert r"\x1b[31m[bold].png" in error_line(done)
    assert "\x1b" not in done.stderr


# Stands before the command, in a process of its own: what a small device does not have.
WITHOUT_KERAS = """
import sys
for name in ("keras", "tensorflow", "jax", "torch"):
    sys.modules[name] = None  # to import it is an error
from kdl.__main__ import main
sys.argv[0] = "kdl"
main()
"""


def test_commands_on_tflite_files_need_no_keras(artifacts, three, tmp_path):
    def alone(*arguments):
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_KERAS, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
        )

    done = alone("predict", artifacts / "int8.tflite", three, "--top", "1")
    assert done.returncode == 0, done.stderr
    assert rows(done)[0][1] == "3"
    assert done.stderr == ""
    scores_file(tmp_path / "segmenter.tflite")
    write_metadata(tmp_path / "segmenter.tflite", ModelInfo(["a", "b", "c"], InputSpec((8, 8))))
    done = alone("predict", tmp_path / "segmenter.tflite", three, "--output", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("image\tclass\tshare\n")
    assert (tmp_path / "maps" / "three.png").exists()
    done = alone("benchmark", artifacts / "int8.tflite", "--runs", "3")
    assert done.returncode == 0, done.stderr
    assert "int8" in done.stdout
    # The block works: a model of Keras's cannot be loaded, and the message says what is missing.
    done = alone("predict", artifacts / "model.keras", three)
    assert error_line(done) == "error: kdl.applications needs Keras: pip install keras"


def test_a_model_that_does_not_tell_its_input_says_what_to_do(artifacts, three, tmp_path):
    bare = tmp_path / "bare.tflite"
    content = (artifacts / "int8.tflite").read_bytes()
    bare.write_bytes(content[: content.index(b"PK\x03\x04")])
    message = error_line(kdl_here("predict", bare, three))
    assert "does not say how an image becomes its input" in message
    assert "kdl export --mean … --std" in message
    assert "input_spec" not in message
