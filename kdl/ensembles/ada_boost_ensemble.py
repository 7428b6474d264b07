"""AdaBoost: each member trains with more weight on the errors of those before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import keras
import numpy as np

from kdl._checks import check_choice, check_integer
from kdl._typing import ArrayLike
from kdl.ensembles import _boosting, _graph
from kdl.ensembles._arguments import check_positive
from kdl.ensembles._ensemble import Ensemble
from kdl.ensembles._member_outputs import softmax
from kdl.ensembles._types import Build, FitArguments


class AdaBoostEnsemble(Ensemble):
    """Members trained one after the other, with more weight on earlier errors.

    With K classes and weights `w` of the sum 1, equal at first, SAMME takes of each member the
    labels that it predicts, its error `e = Σ w·[wrong]` and its weight
    `α = ν (ln((1 − e)/e) + ln(K − 1))`. Then `w ← w·exp(α·[wrong])`, and the ensemble's scores are
    `s_c = Σ_m α_m·(1 if m predicts c, else −1/(K − 1)) / Σ_m α_m`.

    SAMME.R takes the probabilities: `h_c = (K − 1)(ln p_c − mean_k ln p_k)`, averaged over the
    members, and `w ← w·exp(−ν (K − 1)/K·Σ_c y_c ln p_c)`, with `y_c` of 1 or `−1/(K − 1)`. Networks
    that are sure of their labels make its weights extreme: then lower ν.

    In both `p = softmax(s / (K − 1))`. Boosting ends before `n_members` if a member makes no error,
    and SAMME's if one is no better than chance, which is left out.

    The weights reach the members' loss as `sample_weight`, scaled to a mean of 1: with a sum of 1
    the steps would be n times as small. Members must be weak: a network that learns all samples
    leaves nothing to boost.

    Args:
        build: Function of `(input_shape, outputs)` that returns a compiled model with softmax
            outputs, or such a model, which is copied with new weights.
        n_members: Most members. Defaults to 10.
        fit_arguments: Dict for the members' `fit`, such as `{"epochs": 5, "batch_size": 32}`.
        algorithm: `"SAMME"` (default) or `"SAMME.R"`, which scikit-learn no longer has.
        learning_rate: ν. Defaults to 1.0.
        resample: Whether members train on n samples drawn by weight, instead of with weights, which
            suits losses that take none. Defaults to False.
        from_logits: Whether the members' outputs are logits. Defaults to False.
        seed: Non-negative integer (0 by default), or None for other members each time.

    Attributes:
        members_: The trained Keras models.
        member_weights_: α of each member; 1 in SAMME.R.
        member_errors_: e of each member.
        classes_: The labels, sorted.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range, or SAMME's first member is
            no better than chance.
        ImportError: If scikit-learn is not installed.

    `kdl.ensembles.BaggingEnsemble` describes data, labels and seed.

    Source: Zhu, Zou, Rosset and Hastie, "Multi-class AdaBoost", Statistics and Its Interface 2,
    2009.

    Example:
        >>> import keras, kdl
        >>> def build(input_shape, outputs):
        ...     layers = [keras.layers.Flatten(), keras.layers.Dense(outputs, "softmax")]
        ...     model = keras.Sequential([keras.Input(input_shape), *layers])
        ...     model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
        ...     return model
        >>> (x, y), _ = kdl.data.digits(size=8, channels=1)
        >>> ensemble = AdaBoostEnsemble(build, 3, {"epochs": 5}).fit(x[:100], y[:100])
        >>> ensemble.score(x[:100], y[:100]) > 0.7
        True
    """

    def __init__(
        self,
        build: Build,
        n_members: int = 10,
        fit_arguments: FitArguments = None,
        algorithm: Literal["SAMME", "SAMME.R"] = "SAMME",
        learning_rate: float = 1.0,
        resample: bool = False,
        from_logits: bool = False,
        seed: int | None = 0,
    ) -> None:
        self.build = build
        self.n_members = n_members
        self.fit_arguments = fit_arguments
        self.algorithm = algorithm
        self.learning_rate = learning_rate
        self.resample = resample
        self.from_logits = from_logits
        self.seed = seed

    def predict_proba(self, x: ArrayLike) -> np.ndarray:
        """Probabilities `(samples, classes)`, in the order of `classes_`.

        Args:
            x: Array `(samples, …)`.
        """
        return self._probabilities(self._outputs(self._check_inputs(x)))

    def decision_function(self, x: ArrayLike) -> np.ndarray:
        """Scores `(samples, classes)`; for two classes `(samples,)`, positive for the second.

        Args:
            x: Array `(samples, …)`.
        """
        scores = self._outputs(self._check_inputs(x))
        return scores[:, 1] - scores[:, 0] if self._width == 2 else scores

    def staged_predict_proba(self, x: ArrayLike) -> Iterator[np.ndarray]:
        """Yields the probabilities of the first member, of the first two, and so on.

        Args:
            x: Array `(samples, …)`.
        """
        outputs = self._all_outputs(self._check_inputs(x))
        for count in range(1, len(outputs) + 1):
            yield self._probabilities(self._scores(outputs[:count]))

    def _check_parameters(self):
        super()._check_parameters()
        check_integer("n_members", self.n_members)
        check_choice("algorithm", self.algorithm, ("SAMME", "SAMME.R"))
        check_positive("learning_rate", self.learning_rate)

    def _count_trainings(self):
        return self.n_members

    def _fit_members(self, data, trainer):
        recipe = self._recipe(self.build)
        models, alphas, errors = [], [], []
        weights = np.ones(len(data.x)) if data.weights is None else data.weights
        weights = weights / weights.sum()
        while weights is not None and len(models) < self.n_members:
            [model] = trainer.train([self._boosted(data, len(models), recipe, weights)])
            outputs = self._member_outputs(model, data.x)
            error, alpha, weights = self._step(weights, data.y, outputs)
            if alpha is None:
                self._check_first(models, error)
                break
            models.append(model)
            alphas.append(alpha)
            errors.append(error)
        self.members_ = models
        self.member_weights_, self.member_errors_ = np.array(alphas), np.array(errors)

    def _boosted(self, data, number, recipe, weights):
        if not self.resample:
            return self._job(data, number, recipe, weights=weights * len(weights))
        generator = self._generator(number, purpose=1)
        samples = generator.choice(len(weights), len(weights), p=weights / weights.sum())
        return self._job(data, number, recipe, samples=samples, weights=None)

    def _step(self, weights, labels, probabilities):
        """The error of a member, its weight, and the samples' weights for the next one."""
        if self.algorithm == "SAMME.R":
            error, new = _boosting.samme_r_step(weights, labels, probabilities, self.learning_rate)
            return error, 1.0, new
        wrong = probabilities.argmax(-1) != labels
        return _boosting.samme_step(weights, wrong, self._width, self.learning_rate)

    def _check_first(self, models, error):
        if not models:
            raise ValueError(
                f"The first member is wrong on {error:.1%} of the weight: no better than chance, "
                f"so there is nothing to boost. Train longer (fit_arguments), or build a larger "
                f"model."
            )

    def _all_outputs(self, x):
        return np.stack([self._member_outputs(model, x) for model in self.members_])

    def _scores(self, outputs):
        if self._fitted("algorithm") == "SAMME.R":
            return _boosting.samme_r_scores(outputs).mean(0)
        alphas = self.member_weights_[: len(outputs)]
        return _boosting.samme_scores(outputs.argmax(-1), alphas, self._width)

    def _probabilities(self, scores):
        return softmax(scores / (self._width - 1))

    def _outputs(self, x):
        return self._scores(self._all_outputs(x))

    def _symbolic_outputs(self, inputs):
        outputs = _graph.members(self.members_, inputs, self._fitted("from_logits"))
        if self._fitted("algorithm") == "SAMME.R":
            # softmax(mean ln p): a number subtracted from all classes alike falls out.
            logarithms = [_logarithm(output) for output in outputs]
            scores = _graph.weighted_mean(logarithms, self.member_weights_)
            return keras.ops.softmax(scores, axis=-1)
        votes = _graph.weighted_mean(_graph.votes(outputs, self._width), self.member_weights_)
        # s = (K·votes − 1)/(K − 1), and softmax is the same where all classes get the same addend.
        return keras.ops.softmax(votes * (self._width / (self._width - 1) ** 2), axis=-1)

    def _get_state(self):
        return {
            "member_weights": self.member_weights_.tolist(),
            "member_errors": self.member_errors_.tolist(),
        }

    def _set_state(self, state, allow_pickle):
        self.member_weights_ = self._a_number_each(state["member_weights"])
        self.member_errors_ = self._a_number_each(state["member_errors"])


def _logarithm(probabilities):
    # In float16 the least probability would be 0, and its logarithm infinite.
    probabilities = keras.ops.cast(probabilities, "float32")
    return keras.ops.log(keras.ops.maximum(probabilities, _boosting.LEAST))
