"""Callback that steps scheduled drop path."""

import keras

from kdl._checks import check_integer
from kdl.layers.regularization.scheduled_drop_path import STEP, TOTAL_STEPS


class DropPathSchedule(keras.callbacks.Callback):
    """Lets every `kdl.layers.ScheduledDropPath` of a model reach its final rate at step `T`.

    A step is one batch of training, as in `kdl.training.WarmUpCosine`, also where
    `gradient_accumulation_steps` of Keras's optimizers joins several batches to one update. The
    layers count their steps themselves, so that they see every step whatever the backend and
    `steps_per_execution`. This callback sets their `T`, and at the begin of `fit` sets their count
    to the optimizer's, so that a run that is taken up again goes on where it stopped. Layers in
    blocks and nested models are stepped, too.

    Args:
        total_steps: `T`: steps until `keep` is `final_keep_probability`.

    Raises:
        ValueError: If `total_steps` is not a positive integer; when training begins, if the model
            has no such layer.

    Source: NASNet (arXiv 1707.07012), section 4.2.

    Example:
        >>> import keras, numpy as np
        >>> from kdl.layers.regularization.scheduled_drop_path import ScheduledDropPath
        >>> drop = ScheduledDropPath(0.5)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), drop])
        >>> model.compile("sgd", "mse")
        >>> data = np.ones((6, 2), "float32"), np.ones((6, 1), "float32")
        >>> history = model.fit(*data, batch_size=2, verbose=0, callbacks=[DropPathSchedule(4)])
        >>> float(drop.progress)
        0.75
    """

    def __init__(self, total_steps: int) -> None:
        super().__init__()
        total_steps = check_integer("total_steps", total_steps)
        self.total_steps = total_steps
        self._begins = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Checks that there is something to step."""
        if not self._counters(STEP):
            raise ValueError(
                f"{self.model.name} has no ScheduledDropPath to step: build it with one, such as "
                f"NASNet(drop_path_keep=0.7), or leave this callback out."
            )
        self._begins = True

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets total and count; here, since other callbacks may restore the optimizer before."""
        if not self._begins:
            return  # from here on the layers count: an optimizer leaves out batches that overflow
        self._begins = False
        step = _batches_seen(self.model.optimizer)
        for name, value in ((STEP, step), (TOTAL_STEPS, self.total_steps)):
            for counter in self._counters(name):
                counter.assign(value)

    def _counters(self, name):
        return [v for v in self.model.non_trainable_variables if v.name == name]


def _batches_seen(optimizer):
    """Batches that an optimizer has trained on; its `iterations` are updates."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a loss scale
    [count] = [v for v in optimizer.variables if v is optimizer.iterations] or [
        v for v in optimizer.variables if v.name == "iteration"
    ]
    return int(keras.ops.convert_to_numpy(count))
