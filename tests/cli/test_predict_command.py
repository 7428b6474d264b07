import csv
import io
import json
import os
import subprocess
import sys

import keras
import pytest
from cli.command_line import error_line, kdl_here
from PIL import Image

from kdl.data import InputSpec, ModelInfo
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


def test_commands_on_tflite_files_need_no_keras(artifacts, three):
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
