"""Stacking: a final estimator learns from what the members say of samples new to them."""

import zlib

import keras
import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import check_cv
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import has_fit_parameter

from kdl.ensembles import _final, _graph
from kdl.ensembles._ensemble import Ensemble
from kdl.ensembles._named import check_named, named_jobs


def _gives_probabilities(self):
    estimator = getattr(self, "final_estimator_", self.final_estimator)
    return estimator is None or hasattr(estimator, "predict_proba")


class StackingEnsemble(Ensemble):
    """Networks of different kinds, and an estimator that learns whom to believe when.

    The training data is cut into folds. For each fold every member is trained on the others, and
    says probabilities for it: so they are honest for all samples, and the final estimator is
    trained on them. Then the members are trained anew on all samples, for use. That is `folds + 1`
    trainings a member, all independent of each other.

    For two classes the final estimator gets the probability of the second alone, as the first says
    the same.

    Args:
        members: List of `(name, build)` or `(name, build, fit_arguments)`, where `build` is a
            function of `(input_shape, outputs)` that returns a compiled model with softmax outputs,
            or such a model, which is copied with new weights.
        final_estimator: Classifier of scikit-learn; None (default) for `LogisticRegression()`.
        cv: Number of folds, stratified and not shuffled as in scikit-learn, or a splitter of
            scikit-learn whose folds hold each sample once. Defaults to 5.
        passthrough: Whether the final estimator gets x, too, in one row a sample. Defaults to
            False.
        fit_arguments: Dict for the `fit` of all members, such as `{"epochs": 5}`; what a member's
            own entry says goes before.
        from_logits: Whether the members' outputs are logits. Defaults to False.
        seed: Non-negative integer (0 by default), or None for other weights each time.

    Attributes:
        members_: The Keras models that were trained on all samples.
        final_estimator_: The trained final estimator; its labels are the numbers of the classes.
        classes_: The labels, sorted.

    Raises:
        ValueError: In `fit`, if an argument or the data is out of range.
        ImportError: If scikit-learn is not installed.

    Regression and scikit-learn's `cv="prefit"`, which believes what members say of samples that
    they know, are left out. `kdl.ensembles.BaggingEnsemble` says what data, labels and seed mean.

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

    _made_by = "members"

    def __init__(
        self,
        members,
        final_estimator=None,
        cv=5,
        passthrough=False,
        fit_arguments=None,
        from_logits=False,
        seed=0,
    ):
        self.members = members
        self.final_estimator = final_estimator
        self.cv = cv
        self.passthrough = passthrough
        self.fit_arguments = fit_arguments
        self.from_logits = from_logits
        self.seed = seed

    def predict(self, x):
        """The label of each sample, as the final estimator decides.

        Args:
            x: Array `(samples, …)`.
        """
        features = self.transform(x)
        return self.classes_[self.final_estimator_.predict(features)]

    @available_if(_gives_probabilities)
    def predict_proba(self, x):
        """Probabilities `(samples, classes)` of the final estimator, in the order of `classes_`.

        Args:
            x: Array `(samples, …)`.
        """
        features = self.transform(x)
        return self.final_estimator_.predict_proba(features)

    def transform(self, x):
        """What the final estimator sees: the members' probabilities in a row, `(samples, numbers)`.

        Args:
            x: Array `(samples, …)`.
        """
        x = self._check_x(x)
        return self._features(x, [self._answer(model, x) for model in self.members_])

    def _check(self):
        super()._check()
        check_named(self.members)
        if isinstance(self.cv, str) or self.cv is None:
            raise ValueError(
                f"cv must be a number of folds or a splitter of scikit-learn; received {self.cv!r}."
            )

    def _count(self):
        return len(self.members) * (1 + self._folds)

    def _read(self, x, y, sample_weight):
        data = super()._read(x, y, sample_weight)
        self._splits = _splits(self.cv, data)
        self._folds = len(self._splits)
        return data

    def _train(self, data, members):
        final_estimator = self._make_final(data)
        whole = named_jobs(self, data)
        parts = [
            self._part(data, job, number, fold)
            for number, job in enumerate(whole)
            for fold in range(self._folds)
        ]
        models = members.train([*whole, *parts])
        self.members_, judges = models[: len(whole)], iter(models[len(whole) :])
        answers = np.zeros((len(whole), len(data.x), self._width))
        for number in range(len(whole)):
            for _, rows in self._splits:
                answers[number, rows] = self._answer(next(judges), data.x[rows])
        weights = {} if data.weights is None else {"sample_weight": data.weights}
        features = self._features(data.x, answers)
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

    def _features(self, x, answers):
        columns = [answer[:, 1:] if self._width == 2 else answer for answer in answers]
        if self._used("passthrough"):
            columns.append(x.reshape(len(x), -1))
        return np.hstack(columns)

    def _symbolic(self, inputs):
        columns = _graph.members(self.members_, inputs, self._used("from_logits"))
        if self._width == 2:
            columns = [answer[:, 1:] for answer in columns]
        if self._used("passthrough"):
            columns.append(keras.layers.Flatten(data_format="channels_last")(inputs))
        features = columns[0] if len(columns) == 1 else keras.layers.Concatenate()(columns)
        return _final.symbolic(self.final_estimator_, features)

    def _state(self):
        return {"final_estimator": _final.as_state(self.final_estimator_)}

    def _restore(self, state, allow_pickle):
        self.final_estimator_ = _final.from_state(state["final_estimator"], allow_pickle)


def _splits(cv, data):
    """Pairs of the samples to train on and those to ask, which are all of them once."""
    splits = list(check_cv(cv, data.y, classifier=True).split(data.x, data.y))
    asked = np.sort(np.concatenate([rows for _, rows in splits]))
    if not np.array_equal(asked, np.arange(len(data.x))):
        raise ValueError("cv must give folds that hold each sample once; these do not.")
    return splits
