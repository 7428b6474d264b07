"""AdaBoost: each member trains on what those before it got wrong."""

import keras
import numpy as np

from kdl._checks import check_integer
from kdl.ensembles import _boosting, _graph
from kdl.ensembles._ensemble import (
    Ensemble,
    check_choice,
    check_positive,
    softmax,
)


class AdaBoostEnsemble(Ensemble):
    """Members trained one after the other, with more weight on what was got wrong before.

    With K classes and weights `w` of the sum 1, equal at first, SAMME takes of each member the
    labels that it gives, its error `e = Σ w·[wrong]` and its say
    `α = ν (ln((1 − e)/e) + ln(K − 1))`. Then `w ← w·exp(α·[wrong])`, and the ensemble's scores are
    `s_c = Σ_m α_m·(1 if m says c, else −1/(K − 1)) / Σ_m α_m`.

    SAMME.R takes the probabilities: `h_c = (K − 1)(ln p_c − mean_k ln p_k)`, averaged over the
    members, and `w ← w·exp(−ν (K − 1)/K·Σ_c y_c ln p_c)`, with `y_c` of 1 or `−1/(K − 1)`. Networks
    that are sure of what they say make its weights extreme: then lower ν.

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

    `kdl.ensembles.BaggingEnsemble` says what data, labels and seed mean.

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
        build,
        n_members=10,
        fit_arguments=None,
        algorithm="SAMME",
        learning_rate=1.0,
        resample=False,
        from_logits=False,
        seed=0,
    ):
        self.build = build
        self.n_members = n_members
        self.fit_arguments = fit_arguments
        self.algorithm = algorithm
        self.learning_rate = learning_rate
        self.resample = resample
        self.from_logits = from_logits
        self.seed = seed

    def predict_proba(self, x):
        """Probabilities `(samples, classes)`, in the order of `classes_`.

        Args:
            x: Array `(samples, …)`.
        """
        return self._probabilities(self._outputs(self._check_x(x)))

    def decision_function(self, x):
        """Scores `(samples, classes)`; for two classes `(samples,)`, positive for the second.

        Args:
            x: Array `(samples, …)`.
        """
        scores = self._outputs(self._check_x(x))
        return scores[:, 1] - scores[:, 0] if self._width == 2 else scores

    def staged_predict_proba(self, x):
        """Yields the probabilities of the first member, of the first two, and so on.

        Args:
            x: Array `(samples, …)`.
        """
        answers = self._answers(self._check_x(x))
        for count in range(1, len(answers) + 1):
            yield self._probabilities(self._scores(answers[:count]))

    def _check(self):
        super()._check()
        check_integer("n_members", self.n_members)
        check_choice("algorithm", self.algorithm, ("SAMME", "SAMME.R"))
        check_positive("learning_rate", self.learning_rate)

    def _count(self):
        return self.n_members

    def _train(self, data, members):
        recipe = self._recipe(self.build)
        models, alphas, errors = [], [], []
        weights = np.ones(len(data.x)) if data.weights is None else data.weights
        weights = weights / weights.sum()
        while weights is not None and len(models) < self.n_members:
            [model] = members.train([self._boosted(data, len(models), recipe, weights)])
            error, alpha, weights = self._step(weights, data.y, self._answer(model, data.x))
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
        """The error of a member, its say, and the weights for the next one."""
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

    def _answers(self, x):
        return np.stack([self._answer(model, x) for model in self.members_])

    def _scores(self, answers):
        if self._used("algorithm") == "SAMME.R":
            return _boosting.samme_r_scores(answers).mean(0)
        alphas = self.member_weights_[: len(answers)]
        return _boosting.samme_scores(answers.argmax(-1), alphas, self._width)

    def _probabilities(self, scores):
        return softmax(scores / (self._width - 1))

    def _outputs(self, x):
        return self._scores(self._answers(x))

    def _symbolic(self, inputs):
        outputs = _graph.members(self.members_, inputs, self._used("from_logits"))
        if self._used("algorithm") == "SAMME.R":
            # softmax(mean ln p): what is subtracted from all classes alike falls out.
            logarithms = [_logarithm(each) for each in outputs]
            scores = _graph.weighted_mean(logarithms, self.member_weights_)
            return keras.ops.softmax(scores, axis=-1)
        votes = _graph.weighted_mean(_graph.votes(outputs, self._width), self.member_weights_)
        # s = (K·votes − 1)/(K − 1), and softmax takes no notice of what is added to all classes.
        return keras.ops.softmax(votes * (self._width / (self._width - 1) ** 2), axis=-1)

    def _state(self):
        return {
            "member_weights": self.member_weights_.tolist(),
            "member_errors": self.member_errors_.tolist(),
        }

    def _restore(self, state, allow_pickle):
        self.member_weights_ = np.array(state["member_weights"])
        self.member_errors_ = np.array(state["member_errors"])


def _logarithm(probabilities):
    # In float16 the least probability would be 0, and its logarithm infinite.
    probabilities = keras.ops.cast(probabilities, "float32")
    return keras.ops.log(keras.ops.maximum(probabilities, _boosting.LEAST))
