"""Bagging: members trained on bootstrap samples, and their mean."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from kdl._checks import check_integer, is_integer
from kdl.ensembles import _votes
from kdl.ensembles._averaging import AveragingEnsemble
from kdl.ensembles._types import Build, FitArguments, Task, Voting


class BaggingEnsemble(AveragingEnsemble):
    """Members that differ by the samples they saw, and their mean.

    Each member is trained on `n` draws with replacement from the `n` samples, and so without some
    `(1 − 1/n)ⁿ ≈ 37 %` of them, which tell how good the ensemble is without a test set. Their mean
    `p = Σ_m p_m / M` has the bias of one member and less variance.

    Labels may be of any kind; `build` and `fit_arguments` see the numbers 0 … K − 1 of the classes
    in sorted order, as whole numbers (for `sparse_categorical_crossentropy`). Members always have K
    outputs, two for two classes, though a bag may lack a class. The same seed gives the same
    members wherever they are trained, but for rounding where devices or their threads differ in it.

    Shapes: x `(samples, …)` of any rank, y `(samples,)`; for regression also `(samples, outputs)`.

    Args:
        build: Function of `(input_shape, outputs)` that returns a compiled model with softmax
            outputs (linear ones for regression), or such a model, which is copied with new weights.
        n_members: Number of members. Defaults to 10.
        fit_arguments: Dict for the members' `fit`, such as `{"epochs": 5, "batch_size": 32}`.
        max_samples: Draws for a member: a share of the samples, or a whole number. Defaults to 1.0.
        bootstrap: Whether to draw with replacement (default).
        oob_score: Whether to predict each sample by the members that were not trained on it.
            Defaults to False.
        voting: `"soft"` (default): the mean of the probabilities, or `"hard"`: the share of votes.
        from_logits: Whether the members' outputs are logits. Defaults to False.
        task: `"classification"` (default) or `"regression"`.
        seed: Non-negative integer (0 by default), or None for other members each time.

    Attributes:
        members_: The trained Keras models.
        classes_: The labels, sorted.
        oob_score_: Accuracy (for regression R²) of the out-of-bag predictions, over the samples
            that have one.
        oob_decision_function_: These predictions, NaN where every member was trained on the sample;
            `oob_prediction_` for regression.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range.
        ImportError: If scikit-learn is not installed.

    `sample_weight` of `fit` gives the samples' shares in the draws, as in scikit-learn.

    Source: Breiman, "Bagging Predictors", Machine Learning 24, 1996.

    Example:
        >>> import keras, kdl
        >>> def build(input_shape, outputs):
        ...     layers = [keras.layers.Flatten(), keras.layers.Dense(outputs, "softmax")]
        ...     model = keras.Sequential([keras.Input(input_shape), *layers])
        ...     model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
        ...     return model
        >>> (x, y), _ = kdl.data.digits(size=8, channels=1)
        >>> ensemble = BaggingEnsemble(build, 3, {"epochs": 3}).fit(x[:200], y[:200])
        >>> ensemble.score(x[:200], y[:200]) > 0.7
        True
    """

    def __init__(
        self,
        build: Build,
        n_members: int = 10,
        fit_arguments: FitArguments = None,
        max_samples: float = 1.0,
        bootstrap: bool = True,
        oob_score: bool = False,
        voting: Voting = "soft",
        from_logits: bool = False,
        task: Task = "classification",
        seed: int | None = 0,
    ) -> None:
        self.build = build
        self.n_members = n_members
        self.fit_arguments = fit_arguments
        self.max_samples = max_samples
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.voting = voting
        self.from_logits = from_logits
        self.task = task
        self.seed = seed

    def _check_parameters(self):
        super()._check_parameters()
        check_integer("n_members", self.n_members)

    def _count_trainings(self):
        return self.n_members

    def _fit_members(self, data, trainer):
        recipe, draws = self._recipe(self.build), self._draw(data)
        if self.oob_score:
            self._check_out_of_bag(data, draws)
        jobs = [
            self._job(data, number, recipe, samples=samples, weights=None)
            for number, samples in enumerate(draws)
        ]
        self.members_ = trainer.train(jobs)

    def _after_fit(self, data):
        for name in ("oob_score_", "oob_prediction_", "oob_decision_function_"):
            vars(self).pop(name, None)  # of an earlier fit
        if self.oob_score:
            self._predict_out_of_bag(data, self._draw(data))

    def _draw(self, data):
        """The samples of each member."""
        count = _draws(self.max_samples, len(data.x))
        shares = None if data.weights is None else data.weights / data.weights.sum()
        available = len(data.x) if shares is None else np.count_nonzero(shares)
        if not self.bootstrap and count > available:
            raise ValueError(
                f"max_samples={self.max_samples} asks for {count} different samples, but there "
                f"are {available}. Ask for fewer, or pass bootstrap=True."
            )
        return [
            self._generator(number, purpose=1).choice(
                len(data.x), count, replace=self.bootstrap, p=shares
            )
            for number in range(self.n_members)
        ]

    def _check_out_of_bag(self, data, draws):
        """Before training: a score needs a sample, R² two."""
        inside = np.bincount(np.concatenate([np.unique(samples) for samples in draws]))
        outside = len(data.x) - np.count_nonzero(inside == len(draws))
        if outside < (2 if self.task == "regression" else 1):
            raise ValueError(
                f"oob_score=True needs samples that a member was not trained on; there are "
                f"{outside}. Pass bootstrap=True, max_samples below 1.0, or train more members."
            )

    def _predict_out_of_bag(self, data, draws):
        everyone = np.arange(len(data.x))
        rows = [np.setdiff1d(everyone, samples) for samples in draws]
        pairs = zip(self.members_, rows, strict=True)
        used = [(model, outside) for model, outside in pairs if len(outside)]
        outputs = [self._member_outputs(model, data.x[outside]) for model, outside in used]
        if self.voting == "hard":
            outputs = [_votes.vote(output[None]) for output in outputs]
        combined = _votes.out_of_bag(outputs, [outside for _, outside in used], len(data.x))
        valid = ~np.isnan(combined[:, 0])
        if self.task == "regression":
            self.oob_prediction_ = combined.reshape(len(combined), *self.target_shape_)
            self.oob_score_ = r2_score(data.y[valid], combined[valid])
        else:
            self.oob_decision_function_ = combined
            self.oob_score_ = accuracy_score(data.y[valid], combined[valid].argmax(-1))

    def _get_state(self):
        # The predictions belong to the training data, which is not kept.
        return {"oob_score": getattr(self, "oob_score_", None)}

    def _set_state(self, state, allow_pickle):
        if state["oob_score"] is not None:
            self.oob_score_ = state["oob_score"]


def _draws(max_samples, count):
    """Number of samples that a member is trained on."""
    if isinstance(max_samples, bool) or not isinstance(max_samples, int | float | np.number):
        raise ValueError(f"max_samples must be a number; received {max_samples!r}.")
    if is_integer(max_samples) and max_samples >= 1:
        return int(max_samples)
    if isinstance(max_samples, float | np.floating) and 0 < max_samples <= 1:
        return max(1, int(max_samples * count))
    raise ValueError(
        f"max_samples must be a share above 0 and up to 1.0, or a whole number from 1; received "
        f"{max_samples!r}."
    )
