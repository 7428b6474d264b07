"""Training from the command line: options, run, data and network."""

import math
import os
from pathlib import Path

from kdl.cli import console
from kdl.cli._inputs import check_named, load_model, read_data
from kdl.cli._packages import package
from kdl.cli._train_lines import progress

_HEAD_RATE = 0.001  # of the head of a network with trained weights
_FROZEN_SHARE = 0.2
_ALWAYS = ("model", "data", "epochs", "size", "batch_size", "learning_rate", "shift", "seed")
_DEFAULTS = {"optimizer": "adamw", "weight_decay": 0.02, "devices": 1}


def run_arguments(**options):
    """Arguments that define a run, by the options of the command.

    What is not asked for stays out, so that a run of an earlier version can be taken up.
    """
    check_named(options["data"])
    rate, weights = options["learning_rate"], options["weights"]
    if options["freeze_epochs"] is not None and not weights:
        raise ValueError("--freeze-epochs needs --weights: a new backbone has nothing to keep.")
    if rate is not None and not 0 < rate < math.inf:
        raise ValueError(f"--learning-rate must be positive; received {rate}.")
    if not 0 <= options["weight_decay"] < math.inf:
        raise ValueError(f"--weight-decay must be finite; received {options['weight_decay']}.")
    if rate is None:
        rate = _HEAD_RATE if weights else _rate_of(options["model"])
    options |= {
        "data": _absolute(options["data"], "digits"),
        "weights": _absolute(weights, None, "imagenet"),
        "learning_rate": rate,
    }
    return {
        name: value
        for name, value in options.items()
        if name in _ALWAYS
        or (value is not None and value is not False and value != _DEFAULTS.get(name))
    }


def check_weights_stay(weights, folder, overwrite):
    """Raises ValueError if a run would remove the file that it begins with."""
    if not overwrite or not weights or not os.path.isfile(weights):
        return
    for name in ("model.keras", "last.keras"):
        file = folder / name
        if file.exists() and file.samefile(weights):
            raise ValueError(
                f"--overwrite would remove {weights}, with which this run begins: move it, or pass "
                f"--output with another folder."
            )


def prepare(arguments):
    """`(network, training set, validation set, kdl.data.ModelInfo)` of a run."""
    _check_task(arguments["model"])
    readers, size = package("data"), arguments["size"]
    devices, weights = arguments.get("devices", 1), arguments.get("weights")
    source = _source(arguments["model"], weights, size) if weights else None
    spec = _input_spec(weights, source, size) if weights else readers.InputSpec((size, size))
    settings = [arguments[name] for name in ("batch_size", "seed", "shift")]
    train_set, held_out = read_data(
        arguments["data"],
        spec,
        *settings,
        drop_remainder=devices > 1,
        flip=arguments.get("flip", False),
        crop=arguments.get("crop", False),
    )
    names = train_set.class_names
    console.say(_split(arguments["data"], train_set, held_out, names))
    network = package("applications").create_model(
        arguments["model"], input_shape=(size, size, 3), classes=len(names)
    )
    if source is not None:
        # The outputs of other classes of the same number would begin with the wrong names.
        same = readers.get_model_info(source).labels == names
        package("training.runs.fine_tuning").load_backbone(network, source, head=same)
    if devices > 1:
        network = package("layers").convert_sync_batch_norm(network)
    return network, train_set, held_out, readers.ModelInfo(names, spec)


def fit(run, arguments, network, train_set, held_out, info):
    """Trains what `prepare` gave; gives the results."""
    epochs, frozen = arguments["epochs"], arguments.get("freeze_epochs")
    if "weights" in arguments and frozen is None:
        frozen = max(1, round(_FROZEN_SHARE * epochs))
    verbose, callbacks = progress(epochs)
    return run.train(
        network,
        train_set,
        held_out,
        info.labels,
        epochs,
        learning_rate=arguments["learning_rate"],
        weight_decay=arguments.get("weight_decay", _DEFAULTS["weight_decay"]),
        info=info,
        verbose=verbose,
        optimizer=arguments.get("optimizer", _DEFAULTS["optimizer"]),
        patience=arguments.get("early_stopping"),
        class_weight=_class_weights(train_set) if "class_weights" in arguments else None,
        freeze_epochs=frozen,
        callbacks=callbacks,
    )


def _absolute(path, *words):
    """A path that is the same in every folder; some words are none."""
    return path if path in words else os.path.abspath(path)


def _check_task(name):
    """Raises ValueError for a model that is no classifier."""
    tasks = {entry.name: entry.task for entry in package("applications").list_models(task=None)}
    task = tasks.get(name, "classifier")
    if task != "classifier":
        raise ValueError(
            f"{name} is a {task}, and kdl train trains classifiers: train it by fit, in a program."
        )


def _rate_of(name):
    """The default rate of a model; one that is not known is told later, by its constructor."""
    rates = {e.name: e.learning_rate for e in package("applications").list_models()}
    return rates.get(name, 0.02)


def _source(name, weights, size):
    """The network that has the weights."""
    if weights.endswith(".keras"):
        return load_model(Path(weights))
    # A file may have any number of classes, and its head is not needed.
    head = {"classes": 1000} if weights == "imagenet" else {"include_top": False}
    return package("applications").create_model(
        name, input_shape=(size, size, 3), weights=weights, **head
    )


def _input_spec(weights, source, size):
    """Preprocessing of the weights: as a file says, or as published ones do."""
    readers = package("data")
    if weights.endswith(".keras"):
        known = readers.get_model_info(source).input_spec
        known = known.to_dict() if known else {}
        return readers.InputSpec.from_dict({**known, "size": [size, size]})
    return package("training.runs.fine_tuning").published_spec(source, size)


def _class_weights(train_set):
    """`N / (C · n)` for a class with `n` of `N` images."""
    import numpy as np

    classes, counts = np.unique(train_set.labels, return_counts=True)
    return {
        int(c): len(train_set.labels) / (len(classes) * int(n))
        for c, n in zip(classes, counts, strict=True)
    }


def _split(data, train_set, held_out, names):
    """The split of the images."""
    if data == "digits":
        origin = "a fifth of each class, always the same"
    else:
        of_training, of_validation = (_above_class(part) for part in (train_set, held_out))
        apart = of_training != of_validation
        origin = f"the folder {of_validation}" if apart else "a fifth of each class, by the seed"
    return (
        f"{train_set.num_samples} training and {held_out.num_samples} validation images "
        f"({origin}) in {len(names)} classes."
    )


def _above_class(folder):
    """Name of the folder that holds the class folders, if there is one."""
    return "".join(Path(folder.paths[0]).parts[-3:-2])
