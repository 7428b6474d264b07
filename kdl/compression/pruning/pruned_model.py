"""Magnitude pruning in training: pruned weights stay zero after each step."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl.compression.pruning._masks import largest_of_all, largest_of_each, n_of_m
from kdl.compression.pruning.sparsity_schedule import SparsitySchedule
from kdl.graph import copy_model
from kdl.training.post_step_model import PostStepModel


@keras.saving.register_keras_serializable("kdl")
class PrunedModel(PostStepModel):
    """A model around another one, which it prunes while it trains; made by `prune`.

    After each step of training, whatever the optimizer, weights that are not in the mask are set to
    zero, and `step` counts on. The masks and the count are weights of this model, so that they
    are saved with it and go on where they stopped, with a new optimizer too. A weight that was
    pruned stays pruned.

    Attributes:
        model: The model inside, in which the zeros are. `strip` gives a copy.
        schedule: The `SparsitySchedule`, or None.
        step: Number of steps (batches) done, a weight that is not trained.
        masks: A boolean weight for each pruned kernel.

    Args:
        model: A built `keras.Model`.
        kernels: List of pairs: index of a kernel in `model.variables`, and the axis of its inputs.
        schedule: A `SparsitySchedule`; None for masks that never change.
        scope: `"layer"` or `"global"`.
        n_of_m: None or a pair of integers.
        name: Name of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        kernels: Sequence[tuple[int, int | None]],
        schedule: SparsitySchedule | None = None,
        scope: str = "layer",
        n_of_m: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        # The model casts its inputs itself.
        super().__init__(name=name, dtype=model.dtype_policy, autocast=False)
        self.model = model
        self.schedule = schedule
        self.scope = scope
        self.n_of_m = None if n_of_m is None else tuple(n_of_m)
        self._places = tuple((index, axis) for index, axis in kernels)
        self._weight_count = len(model.weights)
        state = {"trainable": False, "aggregation": "only_first_replica"}
        self.step = self.add_weight(
            shape=(), dtype="int32", initializer="zeros", name="pruning_step", **state
        )
        self.masks = [
            self.add_weight(
                shape=kernel.shape, dtype="bool", initializer="ones", name=f"mask_{i}", **state
            )
            for i, kernel in enumerate(self.kernels)
        ]
        self.built = True

    @property
    def kernels(self) -> list[keras.Variable]:
        """The variables that are pruned.

        Raises:
            ValueError: If the model inside has other weights than it had: adapters (LoRA), or
                kernels that Keras has quantized.
        """
        variables, count = self.model.variables, len(self.model.weights)
        if count != self._weight_count:
            raise ValueError(
                f"{self.model.name} had {self._weight_count} weights when it was pruned and has "
                f"{count} now, so that the masks do not fit: strip the model before Keras "
                f"quantizes it or gives it adapters (LoRA)."
            )
        return [variables[index] for index, _ in self._places]

    def network(self) -> keras.Model:
        """The model inside, which is trained."""
        return self.model

    def stripped(self) -> keras.Model:
        """A copy of the model inside, with zeros outside of the masks."""
        self.apply_masks()
        return copy_model(self.model)

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Raises ValueError: the masks are those of kernels that Keras would replace."""
        raise ValueError(
            f"Keras's quantize replaces the kernels that {self.name} prunes: quantize "
            f"kdl.compression.strip(model), whose zeros stay."
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Calls the model inside."""
        return self.model(inputs, training=training)

    def after_step(self) -> None:
        """Counts the step, chooses weights if it is time to, and sets the others to zero."""
        self.step.assign(self.step + 1)
        self.update_masks()

    def update_masks(self) -> None:
        """Chooses the weights that stay, if it is time to, and sets the others to zero."""
        masks = [ops.convert_to_tensor(mask) for mask in self.masks]
        if self.schedule is not None:
            due = self.schedule.due(ops.convert_to_tensor(self.step))
            # What was pruned stays pruned: it counts as zero here.
            kernels = self._masked(masks)
            masks = ops.cond(due, lambda: self._chosen_of(masks, kernels), lambda: masks)
            for mask, value in zip(self.masks, masks, strict=True):
                mask.assign(value)
        for kernel, value in zip(self.kernels, self._masked(masks), strict=True):
            kernel.assign(value)

    def keep_zeros(self) -> None:
        """Makes masks of the zeros that there are."""
        for mask, kernel in zip(self.masks, self.kernels, strict=True):
            mask.assign(ops.not_equal(kernel, 0))

    def apply_masks(self) -> None:
        """Sets all weights that are not in the masks to zero."""
        masks = [ops.convert_to_tensor(mask) for mask in self.masks]
        for kernel, value in zip(self.kernels, self._masked(masks), strict=True):
            kernel.assign(value)

    def _masked(self, masks):
        kernels = [ops.convert_to_tensor(kernel) for kernel in self.kernels]
        return [
            ops.where(mask, kernel, ops.zeros_like(kernel))
            for mask, kernel in zip(masks, kernels, strict=True)
        ]

    def after_fit(self) -> None:
        """Sets what was pruned to zero: an optimizer may have put in averages of the weights."""
        self.apply_masks()

    def _chosen_of(self, masks, kernels):
        """The new masks, without what is not in the old ones: of zeros all count as the largest."""
        chosen = self._choose(kernels)
        return [ops.logical_and(*pair) for pair in zip(masks, chosen, strict=True)]

    def _choose(self, kernels):
        sparsity = self.schedule(ops.convert_to_tensor(self.step))
        if self.n_of_m is not None:
            m = self.n_of_m[1]
            n = ops.cast(ops.round(m * (1 - sparsity)), "int32")
            axes = [axis for _, axis in self._places]
            return [n_of_m(k, n, m, axis) for k, axis in zip(kernels, axes, strict=True)]
        choose = largest_of_all if self.scope == "global" else largest_of_each
        return choose(kernels, sparsity)

    def copy_with(self, copy: Any, name: str | None) -> "PrunedModel":
        """This model around a copy of the model inside, for `kdl.graph.copy_model`."""
        model, copied = copy(self.model), copy.variables()
        position = {id(weight): i for i, weight in enumerate(model.variables)}
        axes = [axis for _, axis in self._places]
        places = [
            (position[id(copied[id(kernel)])], axis)
            for kernel, axis in zip(self.kernels, axes, strict=True)
        ]
        return type(self)(model, places, self.schedule, self.scope, self.n_of_m, name)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            "model": serialize(self.model),
            "kernels": self._places,
            "schedule": serialize(self.schedule),
            "scope": self.scope,
            "n_of_m": self.n_of_m,
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "PrunedModel":
        """The model with these arguments."""
        made = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("model", "schedule")
        }
        return cls(**{**config, **made})
