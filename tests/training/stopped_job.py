"""Two processes of PyTorch, one of which stops: `stopped_job.py FOLDER`."""

import pathlib
import sys

import keras
import numpy as np
import torch

from kdl.ops.replicas import replica_number
from kdl.training import distribute


class Seen(keras.metrics.Metric):
    """The samples that this process saw, twice."""

    def __init__(self):
        super().__init__(name="seen")
        self.total = self.add_variable((2,), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(keras.ops.full((2,), float(y_pred.shape[0])))

    def result(self):
        return self.total.value


def stop(batch, logs=None):
    """Stops the training of the second process alone, after its second batch."""
    model.stop_training = bool(replica_number() == 1 and batch == 1)


def loader(batches):
    """Images of this process, in so many batches of two."""
    pairs = [(torch.ones(2), torch.ones(1))] * (2 * batches)
    return torch.utils.data.DataLoader(pairs, batch_size=2)


if __name__ == "__main__":
    with distribute(2):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        callback = keras.callbacks.LambdaCallback(on_train_batch_end=stop)
        x, y = np.ones((32, 2), "float32"), np.ones((32, 1), "float32")
        model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[callback])
        steps = int(model.optimizer.iterations)
        try:
            model.fit(loader(3 + replica_number()), verbose=0)
            said = "nothing"
        except ValueError as error:
            said = str(error)
        model.fit(loader(3), verbose=0)
        others = int(model.optimizer.iterations) - steps
        model.compile("sgd", "mse", metrics=[Seen()])
        with distribute(2):
            seen = model.fit(x, y, batch_size=4, verbose=0).history["seen"][0].tolist()
        place = pathlib.Path(sys.argv[1], str(replica_number()))
        place.write_text(f"{steps} {others} {seen}\n{said}")
