"""Drop path whose rate grows with depth and with training."""

from typing import Any

import keras
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor

# Names of the two weights that `kdl.training.DropPathSchedule` sets.
STEP = "drop_path_step"
TOTAL_STEPS = "drop_path_total_steps"


@keras.saving.register_keras_serializable("kdl")
class ScheduledDropPath(keras.layers.Layer):
    """In training, sets whole samples to zero, more of them the deeper and the later.

    `y = x · b / keep`, with one draw `b ~ Bernoulli(keep)` a sample, and
    `keep = 1 − min(1, t / T) · (cell + 1) / cells · (1 − final_keep_probability)`.
    In inference `y = x`.

    `t` and `T` are weights that are not trained: `step`, which the layer counts up at every call
    in training, and `total_steps`, which `kdl.training.DropPathSchedule` sets; until then nothing
    is dropped.

    Shapes: any, with the batch first → the same.

    Args:
        final_keep_probability: Chance that the deepest path is kept at the end, in (0, 1]. NASNet
            takes 0.6 on CIFAR-10 and 0.7 for its large ImageNet network.
        cell: Index of the cell that holds the path, from 0. Defaults to 0.
        cells: Number of cells of the network. Defaults to 1.
        seed: Seed of the draws; None (default) for another one each time.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Raises:
        ValueError: If the probability is out of range, or the cell is not one of the network's.

    Source: NASNet (arXiv 1707.07012), section 4.2; the growth with depth is that of the authors'
    code, tensorflow/models, slim.

    Example:
        >>> import numpy as np
        >>> layer = ScheduledDropPath(0.6, cell=9, cells=20)
        >>> layer.build((4, 8))
        >>> _ = layer.total_steps.assign(1000)
        >>> _ = layer.step.assign(500)
        >>> round(float(layer.keep_probability), 2)
        0.9
    """

    def __init__(
        self,
        final_keep_probability: float,
        cell: int = 0,
        cells: int = 1,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < final_keep_probability <= 1:
            raise ValueError(
                f"final_keep_probability must be in (0, 1]; received {final_keep_probability!r}. "
                f"1 drops nothing."
            )
        cells = check_integer("cells", cells)
        cell = check_integer("cell", cell, least=0, most=cells - 1)
        self.final_keep_probability = final_keep_probability
        self.cell = cell
        self.cells = cells
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Makes the two counters."""
        self.step = self._counter(STEP)
        self.total_steps = self._counter(TOTAL_STEPS)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Drops samples of `inputs` in training."""
        if not training:
            return inputs
        keep = self.keep_probability
        self.step.assign(self.step + 1)
        shape = (ops.shape(inputs)[0], *(1 for _ in inputs.shape[1:]))
        draws = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        scale = ops.where(draws < keep, 1.0 / keep, 0.0)
        return ops.multiply(inputs, ops.cast(scale, inputs.dtype))

    @property
    def progress(self) -> Tensor:
        """`min(1, t / T)`, a float32 scalar; 0 while `T` is not set."""
        step, total = (ops.cast(n, "float32") for n in (self.step, self.total_steps))
        return ops.where(total > 0, ops.minimum(step / ops.maximum(total, 1.0), 1.0), 0.0)

    @property
    def keep_probability(self) -> Tensor:
        """Chance that a sample is kept in the next step, a float32 scalar."""
        depth = (self.cell + 1) / self.cells
        return 1.0 - self.progress * depth * (1.0 - self.final_keep_probability)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            final_keep_probability=self.final_keep_probability,
            cell=self.cell,
            cells=self.cells,
            seed=self.seed,
        )
        return config

    def _counter(self, name):
        return self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            name=name,
            aggregation="only_first_replica",
        )
