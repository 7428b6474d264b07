"""Gradient boosting: each member fits the negative gradient of the loss."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
from sklearn.utils.metaestimators import available_if

from kdl._checks import check_integer
from kdl._typing import ArrayLike
from kdl.ensembles import _gradients, _graph
from kdl.ensembles._arguments import check_positive
from kdl.ensembles._ensemble import Ensemble, is_classifier
from kdl.ensembles._member_outputs import softmax
from kdl.ensembles._types import Build, FitArguments, Task


class GradientBoostedEnsemble(Ensemble):
    """A sum of members, each fitted to the residuals of those before it.

    `F_0` is the constant that fits best: the mean, or the logarithms of the classes' shares. Member
    t is trained by least squares on the negative gradient `r` of the loss at `F_{t−1}`, and

        F_t = F_{t−1} + ν γ_t f_t

    For regression the loss is the squared one and `r = y − F`. For classification it is the
    cross-entropy, `r = onehot(y) − softmax(F)`, and the probabilities are `softmax(F)`; the outputs
    of a member are then steps in the scores, not probabilities. `γ_t ≥ 0` is the step with the
    least loss on the training data; trees correct each leaf instead, which networks do not have.

    Members must be weak: a network that fits all residuals learns the noise with the first one.

    Args:
        build: Function of `(input_shape, outputs)` that returns a model with linear outputs that is
            compiled with a squared loss, or such a model, which is copied with new weights. K
            outputs for K classes.
        n_members: Number of members. Defaults to 10.
        fit_arguments: Dict for the members' `fit`, such as `{"epochs": 5, "batch_size": 32}`;
            without `validation_data`, whose residuals would be other ones for each member.
        learning_rate: ν. Defaults to 0.3.
        line_search: Whether to look for γ (default); else it is 1.
        subsample: Share of the samples that each member is trained on, drawn anew without
            replacement. Defaults to 1.0.
        task: `"classification"` (default) or `"regression"`.
        seed: Non-negative integer (0 by default), or None for other members each time.

    Attributes:
        members_: The trained Keras models.
        first_scores_: F_0.
        steps_: ν γ of each member.
        classes_: The labels, sorted.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range.
        ImportError: If scikit-learn is not installed.

    `kdl.ensembles.BaggingEnsemble` describes data, labels and seed.

    Source: Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of
    Statistics 29, 2001, algorithm 1.

    Example:
        >>> import keras, kdl
        >>> def build(input_shape, outputs):
        ...     layers = [keras.layers.Flatten(), keras.layers.Dense(outputs)]
        ...     model = keras.Sequential([keras.Input(input_shape), *layers])
        ...     model.compile(keras.optimizers.Adam(0.02), "mse")
        ...     return model
        >>> (x, y), _ = kdl.data.digits(size=8, channels=1)
        >>> ensemble = GradientBoostedEnsemble(build, 2, {"epochs": 10}, learning_rate=0.5)
        >>> ensemble.fit(x[:100], y[:100]).score(x[:100], y[:100]) > 0.7
        True
    """

    def __init__(
        self,
        build: Build,
        n_members: int = 10,
        fit_arguments: FitArguments = None,
        learning_rate: float = 0.3,
        line_search: bool = True,
        subsample: float = 1.0,
        task: Task = "classification",
        seed: int | None = 0,
    ) -> None:
        self.build = build
        self.n_members = n_members
        self.fit_arguments = fit_arguments
        self.learning_rate = learning_rate
        self.line_search = line_search
        self.subsample = subsample
        self.task = task
        self.seed = seed

    @available_if(is_classifier)
    def predict_proba(self, x: ArrayLike) -> np.ndarray:
        """Probabilities `(samples, classes)`, in the order of `classes_`.

        Args:
            x: Array `(samples, …)`.
        """
        return softmax(self._outputs(self._check_inputs(x)))

    @available_if(is_classifier)
    def decision_function(self, x: ArrayLike) -> np.ndarray:
        """Scores `(samples, classes)`; for two classes `(samples,)`, positive for the second.

        Args:
            x: Array `(samples, …)`.
        """
        scores = self._outputs(self._check_inputs(x))
        return scores[:, 1] - scores[:, 0] if self._width == 2 else scores

    @available_if(is_classifier)
    def staged_predict_proba(self, x: ArrayLike) -> Iterator[np.ndarray]:
        """Yields the probabilities of the first member, of the first two, and so on.

        Args:
            x: Array `(samples, …)`.
        """
        x = self._check_inputs(x)
        for scores in self._stages(x):
            yield softmax(scores)

    def _check_parameters(self):
        super()._check_parameters()
        check_integer("n_members", self.n_members)
        check_positive("learning_rate", self.learning_rate)
        check_positive("subsample", self.subsample)
        if self.subsample > 1:
            raise ValueError(f"subsample must be a share up to 1.0; received {self.subsample!r}.")
        if "validation_data" in (self.fit_arguments or {}):
            raise ValueError(
                "fit_arguments may not hold validation_data here: the members' targets are "
                "residuals. validation_split is possible."
            )

    def _count_trainings(self):
        return self.n_members

    def _fit_members(self, data, trainer):
        recipe = self._recipe(self.build)
        targets = self._targets(data)
        self.first_scores_ = _gradients.first_scores(targets, data.weights, self.task)
        scores = np.tile(self.first_scores_, (len(targets), 1))
        self.members_, steps = [], []
        for number in range(self.n_members):
            left = _gradients.residuals(targets, scores, self.task)
            [model] = trainer.train([self._fitting(data, number, recipe, left)])
            direction = self._raw_outputs(model, data.x)
            step = 1.0
            if self.line_search:
                step = _gradients.best_step(targets, scores, direction, data.weights, self.task)
            steps.append(self.learning_rate * step)
            self.members_.append(model)
            scores = scores + steps[-1] * direction
        self.steps_ = np.array(steps)

    def _targets(self, data):
        if self.task == "regression":
            return data.y.astype("float64")
        if data.weights is not None:
            lacking = self.classes_[np.bincount(data.y, data.weights, self._width) == 0]
            if len(lacking):
                raise ValueError(f"sample_weight is 0 for all samples of {lacking.tolist()}.")
        return np.eye(self._width)[data.y]

    def _fitting(self, data, number, recipe, left):
        samples, weights = None, data.weights
        if self.subsample < 1:
            count = max(1, int(self.subsample * len(left)))
            generator = self._generator(number, purpose=1)
            samples = np.sort(generator.choice(len(left), count, replace=False))
            weights = None if weights is None else weights[samples]
        target = left.astype("float32")
        return self._job(data, number, recipe, y=target, samples=samples, weights=weights)

    def _stages(self, x):
        """The scores after each member."""
        scores = np.tile(self.first_scores_, (len(x), 1))
        for model, step in zip(self.members_, self.steps_, strict=True):
            scores = scores + step * self._raw_outputs(model, x)
            yield scores

    def _outputs(self, x):
        *_, scores = self._stages(x)
        return scores

    def _symbolic_outputs(self, inputs):
        outputs = _graph.members(self.members_, inputs)
        scores = _graph.weighted_sum(outputs, self.steps_) + self.first_scores_.astype("float32")
        return scores if self._is_regression else keras.ops.softmax(scores, axis=-1)

    def _get_state(self):
        return {"first_scores": self.first_scores_.tolist(), "steps": self.steps_.tolist()}

    def _set_state(self, state, allow_pickle):
        self.first_scores_ = np.array(state["first_scores"])
        self.steps_ = self._a_number_each(state["steps"])
