"""Stacking: a final estimator learns from the members' out-of-fold predictions."""

from __future__ import annotations

import zlib
from typing import Any

import keras
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import check_cv
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import has_fit_parameter

from kdl._typing import ArrayLike
from kdl.ensembles import _final, _graph
from kdl.ensembles._arguments import check_named_members
from kdl.ensembles._ensemble import Ensemble
from kdl.ensembles._types import FitArguments, NamedMembers


def _gives_probabilities(self):
    estimator = getattr(self, "final_estimator_", self.final_estimator)
    return estimator is None or hasattr(estimator, "predict_proba")


class StackingEnsemble(Ensemble):
    """Networks of different kinds, and an estimator that learns from their predictions.

    The training data is cut into folds. For each fold every member is trained on the others, and
    predicts probabilities for it: so no member has seen the samples that it predicts, and the
    final estimator is trained on these predictions. Then the members are trained anew on all
    samples, for use. That is `folds + 1` trainings a member, all independent of each other.

    For two classes the final estimator gets the probability of the second alone: the first is its
    complement.

    Args:
        members: List of `(name, build)` or `(name, build, fit_arguments)`, where `build` is a
            function of `(input_shape, outputs)` that returns a compiled model with softmax outputs,
            or such a model, which is copied with new weights.
        final_estimator: Classifier of scikit-learn; None (default) for `LogisticRegression()`.
        cv: Number of folds, stratified and not shuffled as in scikit-learn, or a splitter of
            scikit-learn whose folds hold each sample once. Defaults to 5.
        passthrough: Whether the final estimator gets x, too, in one row a sample. Defaults to
            False.
        fit_arguments: Dict for the `fit` of all members, such as `{"epochs": 5}`; a member's own
            entry goes before.
        from_logits: Whether the members' outputs are logits. Defaults to False.
        seed: Non-negative integer (0 by default), or None for other weights each time.

    Attributes:
        members_: The Keras models that were trained on all samples.
        final_estimator_: The trained final estimator; its labels are the numbers of the classes.
        classes_: The labels, sorted.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range.
        ImportError: If scikit-learn is not installed.

    Regression and scikit-learn's `cv="prefit"`, which trusts members on samples that they were
    trained on, are left out. `kdl.ensembles.BaggingEnsemble` describes data, labels and seed.

    Source: Wolpert, "Stacked Generalization", Neural Networks 5, 1992.

    Example:
        >>> import keras, kdl
        >>> def build(input_shape, outputs):
        ...     layers = [keras.layers.Flatten(), keras.layers.Dense(outputs, "softmax")]
        ...     model = keras.Sequential([keras.Input(input_shape), *layers])
        ...     model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
        ...     return model
        >>> (x, y), _ = kdl.data.digits(size=8, channels=1)
        >>> ensemble = StackingEnsemble([("linear", build)], cv=2, fit_arguments={"epochs": 2})
        >>> ensemble.fit(x[:100], y[:100]).transform(x[:4]).shape
        (4, 10)
    """

    _build_parameter = "members"

    def __init__(
        self,
        members: NamedMembers,
        final_estimator: Any = None,
        cv: Any = 5,
        passthrough: bool = False,
        fit_arguments: FitArguments = None,
        from_logits: bool = False,
        seed: int | None = 0,
    ) -> None:
        self.members = members
        self.final_estimator = final_estimator
        self.cv = cv
        self.passthrough = passthrough
        self.fit_arguments = fit_arguments
        self.from_logits = from_logits
        self.seed = seed

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The label of each sample, as the final estimator decides.

        Args:
            x: Array `(samples, …)`.
        """
        features = self.transform(x)
        return self.classes_[self.final_estimator_.predict(features)]

    @available_if(_gives_probabilities)
    def predict_proba(self, x: ArrayLike) -> np.ndarray:
        """Probabilities `(samples, classes)` of the final estimator, in the order of `classes_`.

        Args:
            x: Array `(samples, …)`.
        """
        features = self.transform(x)
        return self.final_estimator_.predict_proba(features)

    def transform(self, x: ArrayLike) -> np.ndarray:
        """Features of the final estimator: the members' probabilities, `(samples, numbers)`.

        Args:
            x: Array `(samples, …)`.
        """
        x = self._check_inputs(x)
        return self._features(x, [self._member_outputs(model, x) for model in self.members_])

    def _check_parameters(self):
        super()._check_parameters()
        check_named_members(self.members)
        if isinstance(self.cv, str) or self.cv is None:
            raise ValueError(
                f"cv must be a number of folds or a splitter of scikit-learn; received {self.cv!r}."
            )

    def _count_trainings(self):
        return len(self.members) * (1 + self._folds)

    def _read_data(self, x, y, sample_weight):
        data = super()._read_data(x, y, sample_weight)
        self._splits = _splits(self.cv, data)
        self._folds = len(self._splits)
        return data

    def _fit_members(self, data, trainer):
        final_estimator = self._make_final(data)
        whole = self._named_jobs(data)
        parts = [
            self._part(data, job, number, fold)
            for number, job in enumerate(whole)
            for fold in range(self._folds)
        ]
        models = trainer.train([*whole, *parts])
        self.members_, fold_models = models[: len(whole)], iter(models[len(whole) :])
        outputs = np.zeros((len(whole), len(data.x), self._width))
        for number in range(len(whole)):
            for _, rows in self._splits:
                outputs[number, rows] = self._member_outputs(next(fold_models), data.x[rows])
        weights = {} if data.weights is None else {"sample_weight": data.weights}
        features = self._features(data.x, outputs)
        self.final_estimator_ = final_estimator.fit(features, data.y, **weights)

    def _make_final(self, data):
        """The final estimator, checked before hours of training."""
        if self.final_estimator is None:
            return LogisticRegression()
        estimator = clone(self.final_estimator)
        if data.weights is not None and not has_fit_parameter(estimator, "sample_weight"):
            raise ValueError(f"sample_weight was given, but {estimator!r} takes none.")
        return estimator

    def _part(self, data, job, number, fold):
        """The job of a member on all folds but one."""
        rows = self._splits[fold][0]
        name = f"member {self.members[number][0]!r}, fold {fold}"
        return self._job(
            data,
            number + len(self.members) * (1 + fold),
            job.recipe,
            name=name,
            # A splitter may cut otherwise the next time.
            key=f"{number}-fold{fold}-{zlib.crc32(rows.astype('int64').tobytes()):08x}",
            samples=rows,
            weights=None if data.weights is None else data.weights[rows],
        )

    def _features(self, x, outputs):
        columns = [output[:, 1:] if self._width == 2 else output for output in outputs]
        if self._fitted("passthrough"):
            columns.append(x.reshape(len(x), -1))
        return np.hstack(columns)

    def _symbolic_outputs(self, inputs):
        columns = _graph.members(self.members_, inputs, self._fitted("from_logits"))
        if self._width == 2:
            columns = [column[:, 1:] for column in columns]
        if self._fitted("passthrough"):
            columns.append(keras.layers.Flatten(data_format="channels_last")(inputs))
        features = columns[0] if len(columns) == 1 else keras.layers.Concatenate()(columns)
        return _final.symbolic(self.final_estimator_, features)

    def _get_state(self):
        return {"final_estimator": _final.as_state(self.final_estimator_)}

    def _set_state(self, state, allow_pickle):
        self.final_estimator_ = _final.from_state(state["final_estimator"], allow_pickle)


def _splits(cv, data):
    """Pairs of the samples to train on and those to predict, which are all of them once."""
    splits = list(check_cv(cv, data.y, classifier=True).split(data.x, data.y))
    predicted = np.sort(np.concatenate([rows for _, rows in splits]))
    if not np.array_equal(predicted, np.arange(len(data.x))):
        raise ValueError("cv must give folds that hold each sample once; these do not.")
    return splits
