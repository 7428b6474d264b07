"""What the examples of the papers share: train a few networks alike, and show what came out.

Each example builds its networks and tells its lesson; this module reads the data, trains every
network with the same budget, prints a table and draws the curves.
"""

import argparse
import json
import pathlib
import time

import keras
import numpy as np
from _arguments import add_output, data_set, output_folder
from rich.console import Console
from rich.table import Table

import kdl
from kdl.data import ArrayDataset, InputSpec, RandomShift, read_image_folder
from kdl.training import WarmUpCosine


def parse_arguments(description, paper, size=32, epochs=8, learning_rate=0.01, more=None):
    """The command line that all examples have.

    Args:
        description: The example's docstring; its first line is shown.
        paper: Name of the example, and of the folder of its results.
        size: Default height and width of the pictures.
        epochs: Default number of epochs.
        learning_rate: Default peak of the schedule.
        more: Function that gives the parser arguments of this example alone.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--data", type=data_set, default="digits", help="'digits', or a zip of class folders"
    )
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--size", type=int, default=size, help="height and width of the pictures")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    parser.add_argument("--limit", type=int, default=None, help="use this many training pictures")
    add_output(parser)
    parser.add_argument("--rows", type=pathlib.Path, help=argparse.SUPPRESS)  # of a part of it
    if more:
        more(parser)
    arguments = parser.parse_args()
    arguments.output = output_folder(arguments, paper)
    if arguments.smoke:
        arguments.epochs, arguments.limit = 1, 64
    return arguments


def read_data(arguments):
    """`((x_train, y_train), (x_test, y_test)), number of classes` as float32 and integers."""
    if arguments.data == "digits":
        train, test = kdl.data.digits(size=arguments.size)
        classes = 10
    else:
        spec = InputSpec((arguments.size, arguments.size))
        folders = read_image_folder(arguments.data, spec, batch_size=256, verbose=1)
        train, test = (_in_memory(folder) for folder in folders)
        # Of a folder they come class by class, and --limit takes the first ones.
        order = np.random.default_rng(0).permutation(len(test[0]))
        test = tuple(part[order] for part in test)
        classes = len(folders[0].class_names)
    if arguments.limit:
        order = np.random.default_rng(0).permutation(len(train[0]))[: arguments.limit]
        train = tuple(part[order] for part in train)
        test = tuple(part[: arguments.limit] for part in test)
    return train, test, classes


def compare(networks, arguments, title, callbacks=None):
    """Trains each network with the same budget; prints, draws and saves what came out.

    Args:
        networks: Dict: name → function of `(input_shape, classes)` that builds the network.
        arguments: From `parse_arguments`.
        title: Title of table and plot.
        callbacks: Dict: name of a network → function of the number of steps that gives a callback.

    Returns:
        List of dicts with `name`, `parameters`, `macs`, `accuracy`, `seconds` and `history`.
    """
    train, test, classes = read_data(arguments)
    rows = []
    for name, build in networks.items():
        keras.utils.set_random_seed(0)
        model = build(train[0].shape[1:], classes)
        callback = (callbacks or {}).get(name)
        rows.append(measure(name, model, model, train, test, arguments, callback))
    show(rows, arguments, title)
    return rows


def measure(name, trainer, network, train, test, arguments, callback=None):
    """Trains a network and gives its row of the table.

    Args:
        name: Name of the row.
        trainer: What is fitted: the network itself, or a model that trains it.
        network: What remains after training; its parameters and multiply-adds count.
        train: Training pictures and labels.
        test: Test pictures and labels.
        arguments: From `parse_arguments`.
        callback: Function of the number of steps that gives a callback.
    """
    print(f"Training {name}", flush=True)
    start = time.monotonic()
    history = fit(trainer, train, test, arguments, callback)
    return {
        "name": name,
        "parameters": network.count_params(),
        "macs": kdl.applications.macs(network),
        "accuracy": history[-1],
        "seconds": time.monotonic() - start,
        "history": history,
    }


def show(rows, arguments, title):
    """Prints, draws and saves what came out."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(rows, indent=1))
    print_table(rows, title)
    plot(rows, title, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


def fit(model, train, test, arguments, callback=None):
    """Test accuracy after each epoch of `model.fit` with AdamW, warm-up and cosine."""
    dataset = ArrayDataset(
        *train, arguments.batch_size, augment=RandomShift(max(arguments.size // 16, 1))
    )
    steps = arguments.epochs * len(dataset)
    schedule = WarmUpCosine(arguments.learning_rate, total_steps=steps, warm_up_steps=steps // 10)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        dataset,
        validation_data=test,
        epochs=arguments.epochs,
        shuffle=False,
        verbose=2,
        callbacks=[callback(steps)] if callback else None,
    )
    return history.history["val_accuracy"]


def print_table(rows, title):
    """The result on the screen."""
    table = Table(title=title)
    for column in ("network", "parameters", "million MACs", "test accuracy", "seconds"):
        name = column == "network"
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.2f}",
            f"{row['accuracy']:.4f}",
            f"{row['seconds']:.0f}",
        )
    Console().print(table)


def plot(rows, title, path):
    """Test accuracy over the epochs, a curve a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        epochs = range(1, len(row["history"]) + 1)
        axes.plot(epochs, row["history"], marker="o", label=row["name"])
    axes.set_xlabel("epoch")
    axes.set_ylabel("test accuracy")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def _in_memory(folder):
    pairs = [(x, y) for x, y in folder]
    return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))
