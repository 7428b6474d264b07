"""`kdl predict`."""

import csv
import dataclasses
import io
from pathlib import Path
from typing import Annotated

import typer

from kdl.cli import console
from kdl.cli._app import app
from kdl.cli._inputs import images_only, load_model
from kdl.cli._packages import package, quiet_stderr

_MODELS = (".tflite", ".keras")


@app.command()
def predict(
    files: Annotated[
        list[Path],
        typer.Argument(help="A .tflite or .keras file made by kdl, then images and folders."),
    ],
    model: Annotated[
        Path | None, typer.Option(help="The model, if it is not the first file.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
):
    """Names what is in images: kdl predict model.tflite image.jpg folder/.

    A .tflite file is run without Keras and TensorFlow. What cannot be read is told beside the
    results, and makes the exit status 1.
    """
    if as_json and as_csv:
        raise ValueError("Expected --json or --csv; received both.")
    model, names = _model_and_images(files, model)
    classify = (_tflite_classifier if _is_tflite(model) else _keras_classifier)(model)
    images, failed = _images(names)
    results = []
    for image in images:
        try:
            results.append((image, classify(image, top)))
        except (OSError, ValueError) as error:
            console.error(error)
            failed = True
    _print(results, as_json, as_csv)
    if failed:
        raise typer.Exit(1)


def _model_and_images(files, model):
    """Which of the files is the model, and the others."""
    first = _is_model(files[0])
    if first and model is not None:
        raise ValueError(f"Expected one model; received {files[0]} and --model {model}.")
    if not first and model is None:
        raise ValueError(
            f"Name a model first: kdl predict MODEL.tflite IMAGE…. {files[0]} is no .tflite and no "
            f".keras file."
        )
    if model is not None:
        return model, files
    if len(files) == 1:
        raise ValueError(f"Expected an image after {files[0]}.")
    return files[0], files[1:]


def _is_model(file):
    return file.suffix.lower() in _MODELS


def _images(names):
    """The files, and those in the folders among them, however deep; and whether one was empty."""
    images, empty = [], False
    for name in names:
        if not name.is_dir():
            images.append(name)
            continue
        known = package("data._decoding").image_suffixes()
        found = sorted(path for path in name.rglob("*") if path.suffix.lower() in known)
        if not found:
            console.error(f"{name} holds no images.")
            empty = True
        images += found
    return images, empty


def _is_tflite(file):
    return file.suffix.lower() == ".tflite"


def _tflite_classifier(model):
    """A function of an image's path and a number that gives `Classification`s."""
    deploy = package("deploy")
    with quiet_stderr():
        return deploy.ImageClassifier(model).predict


def _keras_classifier(model):
    network = images_only(load_model(model))
    info = package("data").get_model_info(network)
    if info.input_spec is None:
        raise ValueError(
            f"{model} does not say how an image becomes its input; use a file made by `kdl train`, "
            f"or export it with --mean and --std."
        )
    shape = network.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[1] == 1:
        raise ValueError(
            f"{model} is no classifier: expected one output (batch, two classes or more); it has "
            f"{shape}."
        )
    classification = package("deploy").Classification
    labels = info.labels or list(map(str, range(shape[1])))
    if len(labels) != shape[1]:
        raise ValueError(f"{model} holds {len(labels)} labels for {shape[1]} classes.")

    def classify(image, top):
        scores = network.predict(info.input_spec.load(image)[None], verbose=0)[0]
        order = (-scores).argsort(kind="stable")[:top]
        return [classification(labels[i], int(i), float(scores[i])) for i in order]

    return classify


def _print(results, as_json, as_csv):
    rows = [[image, a.label, a.score] for image, classes in results for a in classes]
    if as_json:
        content = [
            {
                "image": str(image),
                "classes": list(map(dataclasses.asdict, classes)),
            }
            for image, classes in results
        ]
        console.say_json(content)
    elif as_csv:
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([["image", "class", "score"], *rows])
        console.say(lines.getvalue().rstrip("\n"))
    elif rows:
        rounded = [[image, label, f"{score:.3f}"] for image, label, score in rows]
        console.table({"image": "text", "class": "text", "score": "number"}, rounded)
