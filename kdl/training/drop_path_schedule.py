"""Callback that steps scheduled drop path."""

import keras

from kdl.layers._block import check_positive
from kdl.layers.scheduled_drop_path import STEP, TOTAL_STEPS


class DropPathSchedule(keras.callbacks.Callback):
    """Lets every `kdl.layers.ScheduledDropPath` of a model reach its final rate at step `T`.

    The layers count their steps themselves, so that they see every step whatever the backend and
    `steps_per_execution`. This callback tells them `T`, and at the begin of each epoch sets their
    count to the optimizer's, so that a run that is taken up again goes on where it stopped. Layers
    in blocks and nested models are found too.

    Args:
        total_steps: `T`: optimizer steps until `keep` is `final_keep_probability`.

    Raises:
        ValueError: If `total_steps` is not a positive integer; when training begins, if the model
            has no such layer.

    Source: NASNet (arXiv 1707.07012), section 4.2.

    Example:
        >>> import keras, numpy as np
        >>> from kdl.layers.scheduled_drop_path import ScheduledDropPath
        >>> drop = ScheduledDropPath(0.5)
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), drop])
        >>> model.compile("sgd", "mse")
        >>> data = np.ones((6, 2), "float32"), np.ones((6, 1), "float32")
        >>> history = model.fit(*data, batch_size=2, verbose=0, callbacks=[DropPathSchedule(4)])
        >>> float(drop.progress)
        0.75
    """

    def __init__(self, total_steps):
        super().__init__()
        check_positive("total_steps", total_steps)
        self.total_steps = total_steps

    def on_train_begin(self, logs=None):
        """Checks that there is something to step."""
        if not self._counters(STEP):
            raise ValueError(
                f"{self.model.name} has no ScheduledDropPath to step: build it with one, such as "
                f"NASNet(drop_path_keep=0.7), or leave this callback out."
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Sets total and count; here, since other callbacks may restore the optimizer before."""
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        for name, value in ((STEP, step), (TOTAL_STEPS, self.total_steps)):
            for counter in self._counters(name):
                counter.assign(value)

    def _counters(self, name):
        return [v for v in self.model.non_trainable_variables if v.name == name]
