"""Deep ensembles: members that differ by their initial weights and the order of the samples."""

from __future__ import annotations

from kdl._checks import check_integer
from kdl.ensembles._averaging import AveragingEnsemble
from kdl.ensembles._types import Build, FitArguments, Task


class DeepEnsemble(AveragingEnsemble):
    """Networks trained alike on all samples from other initial weights, and their mean.

    `p = Σ_m p_m / M`. Each member ends in another minimum of the same loss. Where they agree the
    ensemble is sure; far from the training samples they disagree, which
    `uncertainty` measures. Train with a proper scoring loss, such as cross-entropy.

    The paper's adversarial term and its heads of mean and variance for regression are left out.

    Args:
        build: Function of `(input_shape, outputs)` that returns a compiled model with softmax
            outputs (linear ones for regression), or such a model, which is copied with new weights.
        n_members: Number of members. Defaults to 5, the paper's.
        fit_arguments: Dict for the members' `fit`, such as `{"epochs": 5, "batch_size": 32}`.
        from_logits: Whether the members' outputs are logits. Defaults to False.
        task: `"classification"` (default) or `"regression"`.
        seed: Non-negative integer (0 by default), or None for other members each time.

    Attributes:
        members_: The trained Keras models.
        classes_: The labels, sorted.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range.
        ImportError: If scikit-learn is not installed.

    `kdl.ensembles.BaggingEnsemble` describes data, labels and seed.

    Source: Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles" (arXiv 1612.01474).

    Example:
        >>> import keras, kdl
        >>> def build(input_shape, outputs):
        ...     layers = [keras.layers.Flatten(), keras.layers.Dense(outputs, "softmax")]
        ...     model = keras.Sequential([keras.Input(input_shape), *layers])
        ...     model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
        ...     return model
        >>> (x, y), _ = kdl.data.digits(size=8, channels=1)
        >>> ensemble = DeepEnsemble(build, 2, {"epochs": 2}).fit(x[:100], y[:100])
        >>> sorted(ensemble.uncertainty(x[:4]))
        ['mean_entropy', 'mutual_information', 'predictive_entropy']
    """

    def __init__(
        self,
        build: Build,
        n_members: int = 5,
        fit_arguments: FitArguments = None,
        from_logits: bool = False,
        task: Task = "classification",
        seed: int | None = 0,
    ) -> None:
        self.build = build
        self.n_members = n_members
        self.fit_arguments = fit_arguments
        self.from_logits = from_logits
        self.task = task
        self.seed = seed

    def _check_parameters(self):
        super()._check_parameters()
        check_integer("n_members", self.n_members)

    def _count_trainings(self):
        return self.n_members

    def _fit_members(self, data, trainer):
        recipe = self._recipe(self.build)
        jobs = [self._job(data, number, recipe) for number in range(self.n_members)]
        self.members_ = trainer.train(jobs)
