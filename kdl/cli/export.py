"""`kdl export` and `kdl verify`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from kdl.cli import console
from kdl.cli._app import app
from kdl.cli._inputs import DataOption, ModelFile, images_only, load_model, read_data
from kdl.cli._options import DeviationOption, MeanOption, SizeOption
from kdl.cli._outputs import check_output
from kdl.cli._packages import package, quiet_stderr


@app.command()
def export(
    model: ModelFile,
    output: Annotated[Path, typer.Argument(help="The .tflite file to write.")],
    quantization: Annotated[
        str, typer.Option(help="float32, float16, dynamic or int8.")
    ] = "float32",
    data: Annotated[
        str | None,
        typer.Option(
            help="Images for int8 ranges and for the proof: 'digits', a folder of class folders, "
            "or a zip archive of one."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Training images for int8.")] = 200,
    labels: Annotated[Path | None, typer.Option(help="File of class names, one a line.")] = None,
    size: SizeOption = None,
    mean: MeanOption = None,
    std: DeviationOption = None,
    target: Annotated[
        str | None, typer.Option(help="Rewrite the model for gpu, edgetpu or cpu.")
    ] = None,
    sidecar: Annotated[bool, typer.Option(help="Write OUTPUT.json too.")] = False,
):
    """Writes a model as a proven .tflite file.

    What the model does not tell itself, as files of `kdl train` do, the options tell: its class
    names, and how an image becomes its input: pixels of 0 … 1, minus the mean, by the deviation.
    """
    check_output(output, [path for path in (model, labels, data) if path], model=True)
    if sidecar:
        check_output(Path(f"{output}.json"), [path for path in (model, labels, data) if path])
    names = None if labels is None else _read_labels(labels)
    network = load_model(model)
    if any(option is not None for option in (data, size, mean, std)):
        images_only(network)
    spec = _input_spec(network, size, mean, std)
    open_shape = None if size is None else (*size, _image_shape(network)[2])
    if target is not None:
        network = _rewritten(network, target)
        console.say(f"The proof compares with the rewritten model; kdl verify with {model} itself.")
    representative = test = None
    if data is not None:
        representative, test = read_data(data, _known(spec, model), batch_size=samples)
        representative = package("data").read_samples(representative, samples)
    with console.working(f"Converting {model}"), quiet_stderr():
        result = package("deploy").export_tflite(
            network,
            output,
            quantization,
            representative_data=representative,
            verification_data=test,
            labels=names,
            input_shape=open_shape,
            input_spec=spec,
        )
    if sidecar:
        package("deploy").write_sidecar(output)
    console.say(result)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A .tflite file.")],
    model: ModelFile,
    data: DataOption,
):
    """Compares a .tflite file with its model; exit status 1 if they differ.

    The images become inputs as the file says, or else the model. What both say of class names and
    images must be the same.
    """
    network = images_only(load_model(model))
    described = package("deploy.tflite.metadata").find_info(file)
    spec = described.input_spec or _input_spec(network)
    _, test = read_data(data, _known(spec, file, "Export it with --mean and --std"))
    with console.working(f"Comparing {file}"), quiet_stderr():
        result = package("deploy").verify_tflite(file, network, test)
    console.say(result)
    differing = _differences(described, package("data").get_model_info(network))
    for line in differing:
        console.say(f"FAILED: {line}")
    if differing or not result.passed:
        raise typer.Exit(1)


def _differences(described, remembered):
    """Differences of a file and its model in class names and images, in words, as a list."""
    pairs = {
        "class names": (described.labels, remembered.labels),
        "images": (described.input_spec, remembered.input_spec),
    }
    return [
        f"the file's {what} are {ours}, the model's {theirs}"
        for what, (ours, theirs) in pairs.items()
        if ours is not None and theirs is not None and not _agree(ours, theirs)
    ]


def _agree(ours, theirs):
    """Tell if class names are equal, or specifications of images but for rounding."""
    return ours.agrees_with(theirs) if hasattr(ours, "agrees_with") else ours == theirs


def _input_spec(network, size=None, mean=None, std=None):
    """Preprocessing of images by options and model; None where neither tells."""
    if len(network.inputs) > 1:  # export_tflite knows which of them the model remembers
        return None
    data = package("data")
    own = data.get_model_info(network).input_spec
    dtype = "uint8" if network.inputs[0].dtype == "uint8" else "float32"
    if own is None and mean is None and std is None and dtype == "float32":
        return None
    height, width, channels = _image_shape(network)
    size = size or (own.size if own else (height, width))
    if None in size:
        raise ValueError(f"{network.name} takes images of any size: pass --size.")
    spec = dataclasses.replace(own, size=size) if own else data.InputSpec(size, channels)
    if dtype == "uint8":
        spec = data.InputSpec(size, channels, color=spec.color, dtype=dtype)
    given = {"mean": mean, "std": std}
    changes = {
        name: values * channels if len(values) == 1 else values
        for name, values in given.items()
        if values is not None
    }
    return dataclasses.replace(spec, **changes)


def _image_shape(network):
    shape = tuple(network.inputs[0].shape[1:])
    if len(shape) != 3:
        raise ValueError(f"{network.name} takes no images: its inputs have the shape {shape}.")
    return shape


def _known(spec, name, advice="Pass --mean and --std"):
    if spec is None:
        raise ValueError(
            f"{name} does not say how an image becomes its input. {advice}: --mean 0 --std 1 for "
            f"pixels of 0 … 1, --mean 0 --std 1/255 for 0 … 255, --mean 0.5 --std 0.5 for -1 … 1."
        )
    return spec


def _rewritten(network, target):
    """The network as `rewrite_for` gives it, whose changes are told."""
    compression, deploy = package("compression"), package("deploy")
    with quiet_stderr():  # Keras looks for TensorFlow when it copies layers, on any backend
        network, changes = deploy.rewrite_for(compression.fold_batch_norm(network), target)
    console.say("\n".join(map(str, changes)) or f"Nothing to rewrite for {target}.")
    return network


def _read_labels(path):
    """The lines of a file; empty ones at its end are none."""
    try:
        labels = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (IsADirectoryError, UnicodeDecodeError):
        labels = []
    if not labels or not all(label.strip() for label in labels):
        raise ValueError(f"{path} must be a text (UTF-8) with the name of a class in each line.")
    return [label.strip() for label in labels]
