"""Base of the ensembles: scikit-learn's estimator interface over Keras models."""

from __future__ import annotations

from typing import Self

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from kdl._checks import check_choice, check_integer
from kdl._typing import ArrayLike, Path
from kdl.ensembles import _persistence, _store
from kdl.ensembles._arguments import TASKS, check_fit_arguments
from kdl.ensembles._keras_state import keras_settings
from kdl.ensembles._member_outputs import check_probabilities, member_outputs, softmax
from kdl.ensembles._member_trainer import member_trainer
from kdl.ensembles._member_training import Job
from kdl.ensembles._model_files import write_model
from kdl.ensembles._recipe import Recipe, template_of
from kdl.ensembles._training_data import (
    check_class_weight,
    check_inputs,
    check_regression_targets,
    encode_labels,
    encode_validation_data,
    training_data,
)
from kdl.ensembles._types import ExecutorLike


class Ensemble(BaseEstimator):
    """Base of the ensembles.

    A subclass implements `_fit_members(data, trainer)`, which sets `members_` and what else it
    learns; `_count_trainings()`; `_get_state()` and `_set_state(state, allow_pickle)`, what it
    learned as plain values; `_outputs(x)`, from which `predict` decides; and
    `_symbolic_outputs(inputs)`, the same as a graph.
    """

    task = "classification"  # a parameter where both are possible
    _build_parameter = "build"

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        executor: ExecutorLike = None,
        directory: Path | None = None,
        verbose: int = 0,
    ) -> Self:
        """Trains the members.

        The parameters count from here on: after `set_params` all methods predict as before, until
        the next `fit`.

        Args:
            x: Array `(samples, …)` of any rank; an image has its own axes.
            y: A label a sample, of any kind; for regression a number, or a row of numbers.
            sample_weight: Weight of each sample, or None.
            executor: Where members are trained: None (default) for this process, one after the
                other; a number for as many new processes, which share the cores; or any
                `concurrent.futures.Executor` whose processes are not forks of this one.
            directory: Where the ensemble is kept while it is trained. The same call with the same
                directory trains only what is missing there; functions among the arguments are told
                apart by their names, code, defaults and closures, not by what they call. It must be
                the user's own, see `allow_pickle` of `kdl.ensembles.load`. Defaults to None.
            verbose: 1 for a progress bar over the members, 0 (default) for none.

        Returns:
            The ensemble.

        Raises:
            ValueError: If data or an argument of the constructor is out of range, the directory
                holds something else, or a member can't be written to a file and read back: a dry
                run first builds one more member of each `build` than is trained.
            RuntimeError: If a member could not be trained; the message names it. If another `fit`
                or `save` is writing to the directory.
        """
        self._check_parameters()
        self._fitted_parameters = _persistence.FittedParameters(self.get_params(deep=False))
        # Until it is trained it is not fitted, rather than half of it what it was.
        self.__dict__.pop("members_", None)
        data = self._read_data(x, y, sample_weight)
        self._digest = None if directory is None else data.digest()
        with _store.opened(directory) as store:
            self.seed_ = _persistence.choose_seed(self.seed, store)
            if store is not None:
                _persistence.match(store, self)
            if store is not None and store.is_whole():
                _persistence.restore(self, store, allow_pickle=True, data_known=True)
                self._after_fit(data)
            else:
                self._train(data, store, executor, verbose)
        return self

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The label of each sample; for regression its numbers.

        Args:
            x: Array `(samples, …)`.
        """
        outputs = self._outputs(self._check_inputs(x))
        if self._is_regression:
            return outputs.reshape(len(outputs), *self.target_shape_)
        return self.classes_[outputs.argmax(-1)]

    def score(self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy; for regression the coefficient of determination.

        Args:
            x: Array `(samples, …)`.
            y: Labels or numbers.
            sample_weight: Weight of each sample, or None.
        """
        measure = r2_score if self._is_regression else accuracy_score
        return measure(y, self.predict(x), sample_weight=sample_weight)

    def save(self, path: Path) -> None:
        """Writes the ensemble to a directory, which `kdl.ensembles.load` reads.

        It is the ensemble that `fit` made, with the parameters of then: what `set_params` has
        changed since is for the next `fit`, and no part of it. What an older ensemble left there is
        replaced in one step.

        Args:
            path: The directory.

        Raises:
            ValueError: If the directory holds other files.
            RuntimeError: If a `fit` or another `save` is writing to it.
        """
        self._check_fitted()
        with _store.opened(path) as store:
            names = {
                key: store.add_file(key, write_model(model))
                for key, model in _persistence.with_keys(self.members_)
            }
            state = _persistence.state_of(self)
            store.finish({**_persistence.header_of(self), "state": state, "members": names})

    def to_keras(self) -> keras.Model:
        """One functional model with the members inside: `(batch, …)` → `(batch, classes)`.

        Its outputs are those of `predict_proba`, for regression those of `predict`, of the targets'
        shape. It is a copy: what is done to it leaves the ensemble alone.
        """
        self._check_fitted()
        inputs = keras.Input(self.input_shape_, name="image")
        outputs = self._symbolic_outputs(inputs)
        if self._is_regression and not self.target_shape_:
            outputs = keras.ops.squeeze(outputs, -1)
        return keras.Model(inputs, outputs, name=_snake_case(type(self).__name__))

    # scikit-learn asks these to tell classifiers from regressors: the first from version 1.6 on.
    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, RegressorTags, TargetTags

        tags = super().__sklearn_tags__()
        tags.target_tags = TargetTags(required=True)
        tags.estimator_type = self._estimator_type
        if self._is_regression:
            tags.regressor_tags = RegressorTags()
        else:
            tags.classifier_tags = ClassifierTags()
        return tags

    @property
    def _estimator_type(self):
        return "regressor" if self._is_regression else "classifier"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "members_")

    # For subclasses: parameters and data.

    def _check_parameters(self):
        """Check the constructor's arguments, which scikit-learn wants unchecked until `fit`."""
        check_choice("task", self.task, TASKS)
        if self.seed is not None:
            check_integer("seed", self.seed, least=0)
        check_fit_arguments(self.fit_arguments)

    def _fitted(self, name):
        """A parameter as the last `fit` used it."""
        fitted = getattr(self, "_fitted_parameters", None)
        return getattr(self, name) if fitted is None else fitted.get(name, getattr(self, name))

    @property
    def _is_regression(self):
        return self._fitted("task") == "regression"

    def _read_data(self, x, y, sample_weight):
        """`TrainingData`; sets `input_shape_`, and `target_shape_` or `classes_`."""
        x = check_inputs(x)
        self.input_shape_ = x.shape[1:]
        if self.task == "regression":
            self.target_shape_ = np.asarray(y).shape[1:]
            targets = check_regression_targets(y)
        else:
            self.classes_, targets = encode_labels(y)
        return training_data(x, targets, sample_weight)

    def _check_inputs(self, x):
        self._check_fitted()
        x = check_inputs(x)
        if x.shape[1:] != self.input_shape_:
            raise ValueError(
                f"x must have the shape (samples, {', '.join(map(str, self.input_shape_))}) that "
                f"fit saw; received {x.shape}."
            )
        return x

    def _check_fitted(self):
        check_is_fitted(self, msg="This %(name)s is not fitted; call fit first.")

    # For subclasses: members.

    @property
    def _width(self):
        """Number of outputs of a member."""
        if self._is_regression:
            return int(np.prod(self.target_shape_, dtype=int))
        return len(self.classes_)

    def _train(self, data, store, executor, verbose):
        with member_trainer(executor, store, self._count_trainings(), verbose) as trainer:
            self._fit_members(data, trainer)
        self._after_fit(data)
        if store is not None:
            _persistence.finish(store, self)

    def _job(self, data, number, recipe, name=None, key=None, **changes):
        """The job of a member.

        Args:
            data: `TrainingData`.
            number: Number of the training, from which its seed follows.
            recipe: The `Recipe`, or its bytes.
            name: What messages call it; "member 3" by default.
            key: What the directory calls it; the number by default.
            **changes: Fields of the job other than those of `data`.
        """
        fields = {"y": data.y, "samples": None, "weights": data.weights, **changes}
        return Job(
            name=f"{name or f'member {number}'} of {type(self).__name__}",
            key=str(number) if key is None else key,
            seed=int(self._generator(number).integers(2**32)),
            recipe=recipe,
            x=data.x,
            outputs=self._width,
            settings=keras_settings(),
            **fields,
        )

    def _named_jobs(self, data):
        """A job on all samples for each of the named members."""
        jobs = []
        for number, (name, build, *fit_arguments) in enumerate(self.members):
            recipe = self._recipe(build, *fit_arguments)
            jobs.append(self._job(data, number, recipe, name=f"member {name!r}"))
        return jobs

    def _generator(self, number, purpose=0):
        """Random numbers that follow from seed, member and purpose alone."""
        return np.random.default_rng([self.seed_, number, purpose])

    def _recipe(self, build, fit_arguments=None):
        """The `Recipe` of a member; its own `fit_arguments` go before those of all."""
        if isinstance(build, keras.Model):
            build = template_of(build)
        elif not callable(build):
            raise ValueError(
                f"build must be a function of (input_shape, outputs) that returns a compiled "
                f"model, or a compiled model; received {build!r}."
            )
        classes = None if self.task == "regression" else self.classes_
        arguments = {**(self.fit_arguments or {}), **(fit_arguments or {})}
        if classes is not None:
            check_class_weight(arguments.get("class_weight"), len(classes))
        if "validation_data" in arguments:
            arguments["validation_data"] = encode_validation_data(
                arguments["validation_data"], classes
            )
        return Recipe(build, arguments)

    def _raw_outputs(self, model, x):
        """Outputs of a member, float64 `(samples, outputs)`."""
        size = (self.fit_arguments or {}).get("batch_size") or 32
        return member_outputs(model, x, self._width, size)

    def _member_outputs(self, model, x):
        """Probabilities of a member; for regression its numbers."""
        outputs = self._raw_outputs(model, x)
        if self._is_regression:
            return outputs
        if self._fitted("from_logits"):
            return softmax(outputs)
        check_probabilities(outputs)
        return outputs

    def _after_fit(self, data):
        """Compute what follows from members and training data together."""

    def _get_state(self):
        """State learned besides the members, as values that JSON holds."""
        return {}

    def _set_state(self, state, allow_pickle):
        """Take over what `_get_state` gave."""

    def _a_number_each(self, numbers):
        """An array of a number for each member, from a file."""
        if np.shape(numbers) != (len(self.members_),):
            raise ValueError(f"it has {len(self.members_)} members, but the numbers {numbers!r}.")
        return np.array(numbers)


def is_classifier(ensemble):
    """True for a classification; for methods that are there for one alone."""
    return not ensemble._is_regression


def _snake_case(name):
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
