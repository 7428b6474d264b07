"""Callback that warns where a classifier learns nothing."""

import math
import warnings

import keras
import numpy as np

_EPOCHS = 2  # that must look so one after the other
_NEAR = 0.02


class LearningWatch(keras.callbacks.Callback):
    """Warns once if validation shows that nothing is learned.

    A classifier that predicts the shares of the classes for every image has the loss `−Σ p ln p`,
    `ln C` for `C` equal classes, and the accuracy of the largest class: its network is dead. So is
    one whose loss is not finite.

    Args:
        labels: Integer labels of the validation set.
    """

    def __init__(self, labels):
        super().__init__()
        shares = np.unique(np.asarray(labels), return_counts=True)[1] / len(labels)
        self.loss, self.accuracy = float(-(shares * np.log(shares)).sum()), float(shares.max())
        self.dead, self.warned = 0, False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Looks at the epoch."""
        logs = logs or {}
        loss, accuracy = logs["val_loss"], logs["val_accuracy"]
        near = abs(loss - self.loss) < _NEAR and accuracy < self.accuracy + _NEAR
        self.dead = self.dead + 1 if near or not math.isfinite(loss) else 0
        if self.dead < _EPOCHS or self.warned:
            return
        self.warned = True
        warnings.warn(
            f"Nothing is learned: after epoch {epoch + 1} the validation loss is {loss:.4f} and "
            f"the accuracy {accuracy:.4f}, as of a guess by the shares of the classes. Choose a "
            f"lower learning rate.",
            stacklevel=2,
        )
