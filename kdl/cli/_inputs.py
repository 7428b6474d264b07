"""Models and data that several commands read."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from kdl.cli._packages import keras_package, package, quiet_stderr

DataOption = Annotated[
    str, typer.Option(help="'digits', a folder of class folders, or a zip archive of one.")
]
ModelFile = Annotated[Path, typer.Argument(help="A .keras file.")]


def load_model(path):
    """The Keras model in a file, which remembers what the file tells of it."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model file.")
    if path.is_dir() or path.suffix.lower() not in (".keras", ".h5", ".hdf5"):
        raise ValueError(f"{path} is no .keras file: expected a model that Keras has saved.")
    package("applications")
    keras, data = keras_package(), package("data")
    info = data.read_model_info(path)
    try:
        with quiet_stderr():
            model = keras.models.load_model(path, compile=False)
    except Exception as error:
        raise ValueError(f"{path} is not a model that Keras can load: {_shortened(error)}") from (
            error
        )
    if info != data.ModelInfo():
        data.set_model_info(model, info)
    return model


def check_named(data):
    """Refuses an option without a name, which as a path would be the current folder."""
    if not data:
        raise ValueError("--data is empty: name a folder, a zip archive, or 'digits'.")


def images_only(network):
    """The network; ValueError if images are not all that it takes, since a folder holds no more."""
    if len(network.inputs) > 1:
        names = package("deploy.exporting.signature").input_names(network)
        raise ValueError(
            f"{network.name} takes {len(names)} inputs, {names}, and the command reads images "
            f"alone. Give it arrays in Python: kdl.deploy.export_tflite and verify_tflite take a "
            f"dict of them as data, kdl.deploy.TFLiteRunner runs the file."
        )
    return network


def read_data(
    data, spec, batch_size=32, seed=0, shift=0, drop_remainder=False, flip=False, crop=False
):
    """`(training set, validation set)` of the data that an option names; both know their classes.

    Args:
        data: `"digits"`, or the path of a folder or archive.
        spec: `kdl.data.InputSpec` of the model.
        batch_size: Images in a batch.
        seed: Of the order, and of the split where the folder has none.
        shift: Most pixels by which training images are moved.
        drop_remainder: Whether a last training batch of fewer images is left out.
        flip: Whether training images are mirrored at random.
        crop: Whether training images are zoomed into at random.
    """
    check_named(data)
    readers = package("data")
    keras_package()
    training = {
        "augment": _augmentation(readers, shift, flip, crop),
        "drop_remainder": drop_remainder,
    }
    if data == "digits":
        train, test = readers.digits(spec.size, spec.channels)
        common = {"class_names": [str(digit) for digit in range(10)], "spec": spec}
        return (
            readers.ArrayDataset(
                *_scaled(train, spec), batch_size, seed=seed, **training, **common
            ),
            readers.ArrayDataset(*_scaled(test, spec), batch_size, shuffle=False, **common),
        )
    return readers.read_image_folder(
        data,
        spec,
        batch_size=batch_size,
        seed=seed,
        verbose=int(sys.stdout.isatty()),
        **training,
    )


def _shortened(error):
    """A message of Keras's without the configuration that it may quote, and with a way out."""
    text, found, _ = str(error).partition("Full object config")
    if not found:
        return text
    return (
        f"{text.strip()} The command knows the layers of Keras and kdl alone: load the model in a "
        f"program of yours, and call kdl.deploy.export_tflite there."
    )


def _scaled(arrays, spec):
    """Digits of 0 … 1 as the model wants them."""
    images, labels = arrays
    if spec == dataclasses.replace(spec, mean=None, std=None, color="rgb", dtype="float32"):
        return images, labels  # as they are
    return spec.normalize((255 * images).round().astype("uint8")), labels


def _augmentation(readers, shift, flip, crop):
    """Augmentation of training images, or None."""
    layers = keras_package().layers
    random = []
    if flip:
        random.append(layers.RandomFlip("horizontal"))
    if crop:  # at any place; what the move leaves empty mirrors the image
        random.append(layers.RandomZoom((-0.4, 0.0)))
        random.append(layers.RandomTranslation(0.15, 0.15))
    steps = [readers.Augmentation(random)] if random else []
    if shift:
        steps.append(readers.RandomShift(shift))
    return steps or None
