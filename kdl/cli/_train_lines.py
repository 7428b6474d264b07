"""Progress lines of `kdl train`."""

import sys

from kdl.cli import console
from kdl.cli._packages import keras_package


def progress(epochs):
    """`(verbose, callbacks)` of `fit`: a bar on a terminal, else a line an epoch.

    Args:
        epochs: Number of epochs.
    """
    keras = keras_package()
    terminal = sys.stdout.isatty()
    compiles = keras.backend.backend() != "torch"

    class Lines(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            if compiles:
                console.say("Compiling the first step; the others are quicker …")

        def on_epoch_end(self, epoch, logs=None):
            if not terminal:
                numbers = ", ".join(f"{_spelled(name)} {logs[name]:.4f}" for name in _shown(logs))
                console.say(f"Epoch {epoch + 1}/{epochs}: {numbers}")

    return (1 if terminal else 0), [Lines()]


def _shown(logs):
    return [name for name in ("loss", "accuracy", "val_loss", "val_accuracy") if name in logs]


def _spelled(name):
    return name.replace("val_", "validation ")
