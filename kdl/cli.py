"""The `kdl` command: prints and saves; the work is done in the rooms."""

import contextlib
import importlib
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

app = typer.Typer(
    help="Efficient vision models from training to the device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)

_QUICKSTART = Path("saved_models/quickstart/int8.tflite")

DataOption = Annotated[
    str, typer.Option(help="'digits', a folder of class folders, or a zip archive of one.")
]
ModelFile = Annotated[Path, typer.Argument(help="A .keras file.")]
TFLiteFiles = Annotated[list[Path], typer.Argument(help=".tflite files.")]


def main():
    """Runs the command; expected errors become one line and exit status 1."""
    warnings.showwarning = _show_warning
    try:
        app()
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        text = " ".join(str(error).split())
        err.print(f"error: {text}", style="red", markup=False, soft_wrap=True, highlight=False)
        sys.exit(1)


@app.command("list")
def list_models():
    """Lists the models."""
    applications = _room("applications")
    table = Table(
        Column("name", no_wrap=True),
        Column("parameters", justify="right"),
        Column("million MACs", justify="right"),
        "input",
        "ImageNet weights",
        "licence of the weights",
    )
    for entry in applications.list_models():
        source = entry.source
        table.add_row(
            entry.name,
            f"{entry.parameters:,}",
            f"{entry.macs / 1e6:,.0f}" if entry.macs else "–",
            "×".join(map(str, entry.input_shape)),
            f"{source.top1:.2f} % top-1" if source else "–",
            source.licence if source else "–",
        )
    out.print(table)


@app.command()
def summary(
    model: Annotated[str, typer.Argument(help="Name of a model, or a .keras file.")],
    size: Annotated[int, typer.Option(help="Height and width of the input.")] = 224,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 1000,
):
    """Prints the layers of a model."""
    if model.endswith(".keras"):
        network = _load(Path(model))
    else:
        create = _room("applications").create_model
        network = create(model, input_shape=(size, size, 3), classes=classes)
    network.summary(print_fn=lambda line: out.print(line, markup=False, highlight=False))


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Name of a model.")] = "shufflenet_v2_x0_5",
    data: DataOption = "digits",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 20,
    size: Annotated[int, typer.Option(min=32, help="Height and width of the input.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Peak of the schedule.")] = 0.02,
    shift: Annotated[int, typer.Option(min=0, help="Random shift in pixels.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Discard an earlier run.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Number of devices.")] = 1,
):
    """Trains a classifier; run it again after a crash and it goes on."""
    training = _room("training")
    if devices > 1 and training.launches_processes():
        training.launch([sys.executable, "-m", "kdl", *sys.argv[1:]], devices)
        return
    arguments = {
        "model": model,
        "data": data if data == "digits" else os.path.abspath(data),
        "epochs": epochs,
        "size": size,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "shift": shift,
        "seed": seed,
    }
    if devices > 1:
        arguments["devices"] = devices
    with training.distribute(devices) if devices > 1 else contextlib.nullcontext():
        _train(data, arguments, output or Path("runs") / model, overwrite)


def _train(data, arguments, folder, overwrite):
    """Carries out `train` on the devices in force."""
    training, rooms = _room("training"), _room("data")
    size, devices = arguments["size"], arguments.get("devices", 1)
    settings = [arguments[name] for name in ("size", "batch_size", "seed", "shift")]
    train_set, test_set, names = _read_data(data, *settings, drop_remainder=devices > 1)
    _keras().utils.set_random_seed(arguments["seed"])
    network = _room("applications").create_model(
        arguments["model"], input_shape=(size, size, 3), classes=len(names)
    )
    if devices > 1:
        network = _room("layers").convert_sync_batch_norm(network)
    run = training.ClassifierRun(folder, arguments, overwrite)
    if run.finished:
        out.print(f"{folder} holds this run already, finished: {_results(run.results)}")
        out.print("Pass --overwrite to train anew.")
        return
    results = run.train(
        network,
        train_set,
        test_set,
        names,
        arguments["epochs"],
        learning_rate=arguments["learning_rate"],
        info=rooms.ModelInfo(names, rooms.InputSpec((size, size))),
    )
    if results:
        out.print(f"{_results(results)}. Saved in {folder}.", highlight=False)


@app.command()
def export(
    model: ModelFile,
    output: Annotated[Path, typer.Argument(help="The .tflite file to write.")],
    quantization: Annotated[
        str, typer.Option(help="float32, float16, dynamic or int8.")
    ] = "float32",
    data: Annotated[
        str | None, typer.Option(help="Data for int8 ranges and for the proof.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Training images for int8.")] = 200,
    sidecar: Annotated[bool, typer.Option(help="Write OUTPUT.json too.")] = False,
):
    """Writes a model as a proven .tflite file."""
    network = _load(model)
    info = _room("data").read_model_info(model)
    representative, test = _arrays(data, network, samples) if data else (None, None)
    result = _room("deploy").export_tflite(
        network,
        output,
        quantization,
        representative_data=representative,
        verification_data=test,
        labels=info.labels,
        input_spec=info.input_spec,
    )
    if sidecar:
        _room("deploy").write_sidecar(output)
    out.print(str(result), highlight=False, markup=False, soft_wrap=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A .tflite file.")],
    model: ModelFile,
    data: DataOption = "digits",
):
    """Compares a .tflite file with its model; exit status 1 if they differ."""
    network = _load(model)
    _, test = _arrays(data, network, 1)
    result = _room("deploy").verify_tflite(file, network, test)
    out.print(str(result), highlight=False, markup=False, soft_wrap=True)
    if not result.passed:
        raise typer.Exit(1)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A .tflite file.")],
    target: Annotated[str, typer.Option(help="gpu, edgetpu or cpu.")] = "gpu",
    html: Annotated[Path | None, typer.Option(help="Save the report as a page.")] = None,
    json: Annotated[Path | None, typer.Option(help="Save the report as JSON.")] = None,
    run: Annotated[bool, typer.Option(help="Run it on this machine's GPU, too.")] = False,
):
    """Tells what a device will run of a .tflite file; exit status 1 if it refuses anything."""
    report = _room("deploy").check(file, target, run)
    for path, form in ((html, report.to_html), (json, report.to_json)):
        if path:
            path.write_text(form() + "\n", encoding="utf-8")
    out.print(str(report), highlight=False, markup=False, soft_wrap=True)
    if report.verdict == "refused":
        raise typer.Exit(1)


@app.command()
def predict(
    files: Annotated[
        list[Path],
        typer.Argument(help="A .tflite or .keras file made by kdl, then pictures."),
    ],
    model: Annotated[
        Path | None,
        typer.Option(help="The model, if it is not the first file.", show_default=str(_QUICKSTART)),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to show.")] = 3,
):
    """Names what is in a picture: kdl predict model.tflite picture.jpg.

    A .tflite file is run without Keras and TensorFlow.
    """
    model, pictures = _model_and_pictures(files, model)
    run = _predict_tflite if model.suffix == ".tflite" else _predict_keras
    for picture, answers in zip(pictures, run(model, pictures, top), strict=True):
        if len(pictures) > 1:
            out.print(str(picture), markup=False, highlight=False, soft_wrap=True)
        table = Table("class", "score")
        for label, score in answers:
            table.add_row(label, f"{score:.3f}")
        out.print(table)


@app.command()
def benchmark(
    files: TFLiteFiles,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Number of timed runs.")] = 100,
    plot: Annotated[Path | None, typer.Option(help="PNG file to draw.")] = None,
    profile: Annotated[bool, typer.Option(help="Measure each operation too.")] = False,
):
    """Measures .tflite files on this machine's processor, without Keras and TensorFlow."""
    deploy = _room("deploy")
    results = [deploy.benchmark(file, threads, runs, profile) for file in files]
    table = Table(
        Column("file", overflow="fold"),
        *("kind", "KiB", "min ms", "median ms", "90 % ms", "99 % ms"),
        *("peak MiB", "for the file"),
    )
    for result in results:
        table.add_row(
            result.path,
            result.quantization,
            f"{result.size / 1024:.0f}",
            *(f"{ms:.3f}" for ms in (result.minimum, result.median, result.p90, result.p99)),
            f"{result.memory / 2**20:.1f}",
            f"{(result.memory - result.idle_memory) / 2**20:.1f}",
        )
    out.print(table)
    if profile:
        for result in results:
            _print_profile(result)
    if plot is not None:
        deploy.plot_benchmarks(results, plot)


def _print_profile(result):
    """Operations of one name together, the longest first."""
    together = {}
    for operation in result.profile:
        together.setdefault(operation.name, []).append(operation.milliseconds)
    whole = sum(operation.milliseconds for operation in result.profile) or 1
    out.print(result.path, markup=False, highlight=False, soft_wrap=True)
    table = Table("operation", "times", "ms", "share")
    for name, times in sorted(together.items(), key=lambda item: -sum(item[1])):
        share = f"{sum(times) / whole:.1%}"
        table.add_row(name, str(len(times)), f"{sum(times):.3f}", share)
    out.print(table)


def _room(name):
    """A room of kdl, without the lines that TensorFlow prints while it is imported."""
    with _quiet_stderr():
        return importlib.import_module(f"kdl.{name}")


def _keras():
    with _quiet_stderr():
        return importlib.import_module("keras")


def _load(path):
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model file.")
    _room("applications")
    keras = _keras()
    try:
        with _quiet_stderr():
            return keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(f"{path} is not a model that Keras can load: {error}") from error


def _read_data(data, size, batch_size, seed, shift, drop_remainder=False):
    rooms = _room("data")
    _keras()
    augment = rooms.RandomShift(shift) if shift else None
    if data == "digits":
        (x, y), test = rooms.digits(size=size)
        train_set = rooms.ArrayDataset(
            x, y, batch_size, seed=seed, augment=augment, drop_remainder=drop_remainder
        )
        test_set = rooms.ArrayDataset(*test, batch_size, shuffle=False)
        return train_set, test_set, [str(digit) for digit in range(10)]
    train_set, test_set = rooms.read_image_folder(
        data,
        rooms.InputSpec((size, size)),
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        drop_remainder=drop_remainder,
        verbose=1,
    )
    return train_set, test_set, train_set.class_names


def _arrays(data, network, samples):
    """`(representative training images, (test images, test labels))` for a model."""
    import numpy as np

    size = network.input_shape[1]
    train_set, test_set, _ = _read_data(data, size, 32, 0, 0)
    images = []
    for batch, _ in train_set:
        images.append(batch)
        if 32 * len(images) >= samples:
            break
    pairs = list(test_set)
    test = tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
    return np.concatenate(images)[:samples], test


def _model_and_pictures(files, model):
    """Which of the files is the model; the quickstart's int8 file if none is."""
    if files[0].suffix not in (".tflite", ".keras"):
        return model or _QUICKSTART, files
    if model is not None:
        raise ValueError(f"Expected one model; received {files[0]} and --model {model}.")
    if len(files) == 1:
        raise ValueError(f"Expected a picture after {files[0]}.")
    return files[0], files[1:]


def _predict_tflite(model, pictures, top):
    """`(label, score)` of the likeliest classes, for each picture."""
    answers = _room("deploy").Runner(model).predict(pictures, top)
    return [[(answer.label, answer.score) for answer in row] for row in answers]


def _predict_keras(model, pictures, top):
    info = _room("data").read_model_info(model)
    if info.input_spec is None:
        raise ValueError(
            f"{model} does not say how a picture becomes its input; use a file made by `kdl train`."
        )
    inputs = [info.input_spec.load(picture)[None] for picture in pictures]
    network = _load(model)
    rows = [network.predict(x, verbose=0)[0] for x in inputs]
    labels = info.labels or [str(index) for index in range(len(rows[0]))]
    return [[(labels[i], row[i]) for i in row.argsort()[::-1][:top]] for row in rows]


def _results(results):
    return (
        f"{results['epochs']} epochs, {results['steps']} steps, "
        f"test accuracy {results['accuracy']:.4f}"
    )


def _show_warning(message, category, filename, lineno, file=None, line=None):
    text = " ".join(str(message).split())
    err.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


@contextlib.contextmanager
def _quiet_stderr():
    """Native libraries write to the file descriptor, past `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
