"""Voting: the mean or the vote of members of different kinds."""

from __future__ import annotations

import numpy as np

from kdl._typing import ArrayLike
from kdl.ensembles._arguments import check_named_members
from kdl.ensembles._averaging import AveragingEnsemble
from kdl.ensembles._types import FitArguments, NamedMembers, Task, Voting


class VotingEnsemble(AveragingEnsemble):
    """Networks of different kinds, trained on the same samples, and their mean or their vote.

    Soft: `p = Σ_m w_m p_m / Σ_m w_m`. Hard: each member votes for its most probable class,
    `p_c = Σ_m w_m [argmax p_m = c] / Σ_m w_m`; of classes with as many votes the first one wins.

    Args:
        members: List of `(name, build)` or `(name, build, fit_arguments)`, where `build` is a
            function of `(input_shape, outputs)` that returns a compiled model with softmax outputs
            (linear ones for regression), or such a model, which is copied with new weights.
        voting: `"soft"` (default) or `"hard"`.
        weights: Weight of each member; None (default) for equal ones.
        fit_arguments: Dict for the `fit` of all members, such as `{"epochs": 5}`; a member's own
            entry goes before.
        from_logits: Whether the members' outputs are logits. Defaults to False.
        task: `"classification"` (default) or `"regression"`.
        seed: Non-negative integer (0 by default), or None for other weights each time.

    Attributes:
        members_: The trained Keras models.
        classes_: The labels, sorted.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range.
        ImportError: If scikit-learn is not installed.

    Unlike scikit-learn's, a hard vote has `predict_proba`: the shares of the votes.
    `kdl.ensembles.BaggingEnsemble` describes data, labels and seed.

    Example:
        >>> import keras, kdl
        >>> def build(input_shape, outputs, units):
        ...     layers = [keras.layers.Dense(units, "relu")] if units else []
        ...     layers = [keras.layers.Flatten(), *layers, keras.layers.Dense(outputs, "softmax")]
        ...     model = keras.Sequential([keras.Input(input_shape), *layers])
        ...     model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
        ...     return model
        >>> from functools import partial
        >>> members = [("linear", partial(build, units=0)), ("deep", partial(build, units=32))]
        >>> (x, y), _ = kdl.data.digits(size=8, channels=1)
        >>> ensemble = VotingEnsemble(members, fit_arguments={"epochs": 2}).fit(x[:100], y[:100])
        >>> ensemble.predict_proba(x[:4]).shape
        (4, 10)
    """

    _build_parameter = "members"

    def __init__(
        self,
        members: NamedMembers,
        voting: Voting = "soft",
        weights: ArrayLike | None = None,
        fit_arguments: FitArguments = None,
        from_logits: bool = False,
        task: Task = "classification",
        seed: int | None = 0,
    ) -> None:
        self.members = members
        self.voting = voting
        self.weights = weights
        self.fit_arguments = fit_arguments
        self.from_logits = from_logits
        self.task = task
        self.seed = seed

    def _check_parameters(self):
        super()._check_parameters()
        check_named_members(self.members)
        if self.weights is not None:
            weights = np.asarray(self.weights, "float64")
            fits = weights.shape == (len(self.members),) and np.isfinite(weights).all()
            if not fits or (weights < 0).any() or not weights.sum():
                raise ValueError(
                    f"weights must be {len(self.members)} numbers, one a member, finite, not "
                    f"negative and not all 0; received {self.weights!r}."
                )

    def _member_weights(self):
        weights = self._fitted("weights")
        return None if weights is None else [float(weight) for weight in weights]

    def _count_trainings(self):
        return len(self.members)

    def _fit_members(self, data, trainer):
        self.members_ = trainer.train(self._named_jobs(data))
