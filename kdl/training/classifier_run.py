"""Training an image classifier in a folder that survives being killed."""

import json
import os
import shutil

import keras
import numpy as np

from kdl.ops.replicas import replica_number, wait_for_replicas
from kdl.training.backup import Backup
from kdl.training.plots import plot_confusion_matrix, plot_history
from kdl.training.portable import save_portable
from kdl.training.warm_up_cosine import WarmUpCosine


class ClassifierRun:
    """A training run and its folder: `model.keras`, `history.csv`, two plots and `run.json`.

    Started again with the same arguments, an interrupted run goes on after its last finished epoch
    and ends with the same number of epochs and steps; a finished run is left as it is.

    Args:
        folder: Folder of the run; it is made if it does not exist.
        arguments: Dict of plain values that define the run (model, data, epochs, …). They must be
            the same when the run is taken up again.
        overwrite: Whether to throw away what an earlier run left. Defaults to False.

    Raises:
        ValueError: If the folder holds a run with other arguments.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> run = ClassifierRun(tempfile.mkdtemp(), {"model": "shufflenet_v2_x0_5", "epochs": 2})
        >>> run.finished
        False
    """

    def __init__(self, folder, arguments, overwrite=False):
        self.folder = os.path.abspath(folder)
        self.arguments = json.loads(json.dumps(arguments))
        if replica_number() == 0:
            self._begin(overwrite)
        wait_for_replicas()
        known = self._read()["arguments"]
        if known != self.arguments:
            raise ValueError(_difference(self.folder, known, self.arguments))
        self.backup = Backup(self.path("backup"))

    @property
    def finished(self):
        """Whether the run has come to its end."""
        return self._read()["finished"]

    @property
    def results(self):
        """What the finished run reached: `epochs`, `steps`, `accuracy`, `loss`."""
        return self._read()["results"]

    def path(self, name):
        """Path of a file in the run's folder."""
        return os.path.join(self.folder, name)

    def train(
        self,
        model,
        train,
        validation,
        class_names,
        epochs,
        learning_rate=0.02,
        warm_up_share=0.1,
        weight_decay=0.02,
        info=None,
        verbose="auto",
    ):
        """Trains with AdamW and `WarmUpCosine`, then saves the model and the plots.

        Args:
            model: Classifier with softmax output.
            train: Data set of `kdl.data` that yields images and integer labels.
            validation: The same, measured after each epoch; the accuracy reported is its.
            class_names: Names in the order of the labels.
            epochs: Passes over `train`, the finished ones of an interrupted run included.
            learning_rate: Peak of the schedule. Defaults to 0.02.
            warm_up_share: Share of the steps that warm up. Defaults to 0.1.
            weight_decay: AdamW's. Defaults to 0.02.
            info: `kdl.data.ModelInfo` to keep in the saved model.
            verbose: As in `fit`.

        Returns:
            Dict of results. None in all processes but the first, where several train one model.
        """
        steps = epochs * len(train)
        schedule = WarmUpCosine(learning_rate, steps, int(warm_up_share * steps))
        model.compile(
            keras.optimizers.AdamW(schedule, weight_decay=weight_decay),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        model.fit(
            train,
            validation_data=validation,
            epochs=epochs,
            callbacks=[self.backup, _follow_epochs(train)],
            shuffle=False,
            verbose=verbose,
        )
        if replica_number():
            self.backup.clear()
            return None
        results = self._evaluate(model, validation, class_names)
        plot_history(self.backup.rows, self.path("curves.png"))
        save_portable(model, self.path("model.keras"), info)
        self._write({"arguments": self.arguments, "finished": True, "results": results})
        self.backup.clear()
        return results

    def _evaluate(self, model, validation, class_names):
        labels = np.concatenate([np.asarray(y) for _, y in validation])
        scores = model.predict(validation, verbose=0)
        plot_confusion_matrix(labels, scores.argmax(-1), class_names, self.path("confusion.png"))
        last = self.backup.rows[-1]
        return {
            "epochs": last["epoch"],
            "steps": int(keras.ops.convert_to_numpy(model.optimizer.iterations)),
            "accuracy": float(np.mean(scores.argmax(-1) == labels)),
            "loss": last["val_loss"],
        }

    def _read(self):
        try:
            with open(self.path("run.json")) as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def _write(self, content):
        draft = self.path("run.json.part")
        with open(draft, "w") as file:
            json.dump(content, file, indent=2)
        os.replace(draft, self.path("run.json"))

    def _begin(self, overwrite):
        if overwrite:
            self._remove()
        os.makedirs(self.folder, exist_ok=True)
        if self._read() is None:
            self._write({"arguments": self.arguments, "finished": False})

    def _remove(self):
        shutil.rmtree(self.path("backup"), ignore_errors=True)
        for name in ("run.json", "model.keras", "history.csv", "curves.png", "confusion.png"):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))


def _follow_epochs(dataset):
    def follow(epoch, logs=None):
        dataset.epoch = epoch

    return keras.callbacks.LambdaCallback(on_epoch_begin=follow)


def _difference(folder, old, new):
    changed = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]
    return (
        f"{folder} holds a run with other arguments ({'; '.join(changed)}). Choose another folder, "
        f"the same arguments, or overwrite it."
    )
