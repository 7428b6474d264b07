"""`kdl train`."""

import contextlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kdl._words import counted
from kdl.cli import console
from kdl.cli._app import app
from kdl.cli._inputs import DataOption
from kdl.cli._outputs import check_output_folder
from kdl.cli._packages import keras_package, package, quiet_stderr
from kdl.cli._training import (
    check_weights_stay,
    fit,
    prepare,
    run_arguments,
)


class Optimizer(StrEnum):
    """The optimizers."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"


@app.command()
def train(
    model: Annotated[str, typer.Option(help="Name of a model.")] = "shufflenet_v2_x0_5",
    data: DataOption = "digits",
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over the data; more let a finished run go on.")
    ] = 20,
    size: Annotated[int, typer.Option(min=32, help="Height and width of the input.")] = 32,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 32,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak of the schedule; by default what fits the model.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Trained weights: 'imagenet' or a file; other classes get a new head."),
    ] = None,
    freeze_epochs: Annotated[
        int | None,
        typer.Option(min=0, help="With --weights: epochs of the head alone, a fifth by default."),
    ] = None,
    optimizer: Annotated[Optimizer, typer.Option(help="Optimizer.")] = Optimizer.ADAMW,
    weight_decay: Annotated[float, typer.Option(min=0, help="Decay of the weights.")] = 0.02,
    early_stopping: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many epochs without a better one.")
    ] = None,
    class_weights: Annotated[
        bool, typer.Option("--class-weights", help="Let rare classes count as much as others.")
    ] = False,
    shift: Annotated[int, typer.Option(min=0, help="Random shift in pixels.")] = 2,
    flip: Annotated[bool, typer.Option("--flip", help="Random flips, left to right.")] = False,
    crop: Annotated[bool, typer.Option("--crop", help="Random crops, enlarged.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and order.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Discard an earlier run.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Number of devices.")] = 1,
):
    """Trains a classifier; run it again after a crash and it goes on."""
    training = package("training")
    if devices > 1 and training.launches_processes():
        command = [sys.executable, "-m", "kdl", *sys.argv[1:]]
        training.launch(command, devices, f"{_how_it_goes_on(overwrite)}.".capitalize())
        return
    folder = output or Path("runs") / model
    if data != "digits":
        check_output_folder(folder, data)
    check_weights_stay(weights, folder, overwrite)
    arguments = run_arguments(
        model=model,
        data=data,
        epochs=epochs,
        size=size,
        batch_size=batch_size,
        learning_rate=learning_rate,
        shift=shift,
        seed=seed,
        weights=weights,
        freeze_epochs=freeze_epochs,
        optimizer=optimizer.value,
        weight_decay=weight_decay,
        early_stopping=early_stopping,
        class_weights=class_weights,
        flip=flip,
        crop=crop,
        devices=devices,
    )
    with training.distribute(devices) if devices > 1 else contextlib.nullcontext():
        _train(arguments, folder, overwrite)


def _train(arguments, folder, overwrite):
    """Carries out `train` on the devices in force."""
    with quiet_stderr():  # it seeds every library that is there, and TensorFlow has much to say
        keras_package().utils.set_random_seed(arguments["seed"])
    run = None
    try:
        prepared = prepare(arguments)
        run = package("training").ClassifierRun(folder, arguments, overwrite)
        if run.finished:
            console.say(f"{folder} holds this run already, finished: {_results(run.results)}")
            console.say("Pass --overwrite to train anew, or more --epochs to go on.")
            return
        if run.finished_epochs:
            console.say(f"Resuming after epoch {run.finished_epochs}.")
        results = fit(run, arguments, *prepared)
    except KeyboardInterrupt:
        done = run.finished_epochs if run else 0
        begun_anew = overwrite and run is not None
        console.note(f"Stopped after epoch {done}; {_how_it_goes_on(begun_anew)}.")
        raise typer.Exit(130) from None
    if results:
        console.say(f"{_results(results)}. Saved in {folder}.")


def _how_it_goes_on(overwrite):
    again = "the same command without --overwrite" if overwrite else "the same command"
    return f"{again} goes on after the last finished epoch"


def _results(results):
    best = f" of epoch {results['best_epoch']}" if "best_epoch" in results else ""
    return (
        f"{counted(results['epochs'], 'epoch')}, {counted(results['steps'], 'step')}, "
        f"validation accuracy {results['accuracy']:.4f}{best}"
    )
