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
from kdl.cli._outputs import check_output, check_output_folder
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
    top: Annotated[
        int | None,
        typer.Option(min=1, help="How many classes to show; 3 of an image, all of its pixels."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="classifier or segmenter, if the model's outputs do not tell."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the label maps of a segmenter, as PNG files.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
):
    """Names what is in images: kdl predict model.tflite image.jpg folder/.

    A classifier gives the likeliest classes of each image; a segmenter the share of the pixels that
    each class has, and with --output its label maps. A .tflite file is run without Keras and
    TensorFlow. What cannot be read is told beside the results, and makes the exit status 1.
    """
    if as_json and as_csv:
        raise ValueError("Expected --json or --csv; received both.")
    model, names = _model_and_images(files, model)
    if output is not None:
        for name in names:
            check_output_folder(output, name)
    runner = _runner(model, task)
    images, failed = _images(names)
    is_segmenter = isinstance(runner, package("deploy").ImageSegmenter)
    if output is not None and not is_segmenter:
        raise ValueError(f"--output is for label maps, which {model} does not give: leave it out.")
    label_maps = _label_maps(output, images, model)
    results = []
    for image, _ in images:
        try:
            found = (
                _shares(runner, image, top, label_maps.get(image))
                if is_segmenter
                else runner.predict(image, top or 3)
            )
            results.append((image, found))
        except (OSError, ValueError) as error:
            console.error(error)
            failed = True
    _print(results, "share" if is_segmenter else "score", as_json, as_csv)
    if failed:
        raise typer.Exit(1)


def _shares(runner, image, top, label_map):
    """The `ClassShare`s of an image, whose label map is written on the way if it has a place."""
    segmentation = runner.predict(image)
    if label_map is not None:
        label_map.parent.mkdir(parents=True, exist_ok=True)
        segmentation.save(label_map)
    return segmentation.shares[:top]


def _model_and_images(files, model):
    """The model among the files, and the others."""
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
    """The files, and those in the folders among them, however deep; and whether one was empty.

    Beside each file stands where in its folder it lies. Hidden files are left out, unless named.
    """
    images, empty = [], False
    for name in names:
        if not name.is_dir():
            images.append((name, Path(name.name)))
            continue
        found = _images_in(name)
        if not found:
            console.error(f"{name} holds no images.")
            empty = True
        images += found
    return images, empty


def _images_in(folder):
    """Pairs of an image in a folder and of where it lies there, sorted."""
    known = package("data._decoding").image_suffixes()
    is_hidden = package("data._image_files").is_hidden
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in known)
    # A link to nowhere is told, as any file that cannot be read.
    places = [(path, path.relative_to(folder)) for path in paths if not path.is_dir()]
    return [(path, place) for path, place in places if not is_hidden(place.parts)]


def _label_maps(folder, images, model):
    """Dict: image → file for its label map, below a folder as the image lies below its own."""
    if folder is None:
        return {}
    files = {image: folder / place.with_suffix(".png") for image, place in images}
    sources = {}
    for image, file in files.items():
        if file in sources:
            raise ValueError(
                f"The label maps of {sources[file]} and {image} would both be {file}: give other "
                f"names, or predict them one by one."
            )
        sources[file] = image
        if file.exists():
            check_output(file, [*files, model])
    return files


def _runner(model, task):
    """The `ImageClassifier` or `ImageSegmenter` of a file."""
    if model.suffix.lower() != ".tflite":
        model = images_only(load_model(model))
    with quiet_stderr():
        return package("deploy.runtime._open_image_runner").open_image_runner(model, task)


def _print(results, measure, as_json, as_csv):
    rows = [
        [image, found.label, getattr(found, measure)] for image, all_ in results for found in all_
    ]
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
        csv.writer(lines, lineterminator="\n").writerows([["image", "class", measure], *rows])
        console.say(lines.getvalue().rstrip("\n"))
    elif rows:
        rounded = [[image, label, f"{number:.3f}"] for image, label, number in rows]
        console.table({"image": "text", "class": "text", measure: "number"}, rounded)
