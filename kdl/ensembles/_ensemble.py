"""What all ensembles share: scikit-learn's interface, data, jobs, files."""

import copy
import hashlib

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.multiclass import check_classification_targets

from kdl._checks import check_integer
from kdl.ensembles import _members, _store, _worker
from kdl.ensembles._describe import describe, plain_values

_TASKS = ("classification", "regression")
_OWN = ("x", "y", "sample_weight")


class Ensemble(BaseEstimator):
    """Base of the ensembles.

    A subclass implements `_train(data, members)`, which sets `members_` and what else it learns;
    `_count()`, the number of trainings; `_state()` and `_restore(state, allow_pickle)`, what it
    learned as plain values; `_outputs(x)`, what `predict` decides by; and `_symbolic(inputs)`, the
    same as a graph.
    """

    task = "classification"  # a parameter where both are possible
    _made_by = "build"  # the parameter that makes members

    def fit(self, x, y, sample_weight=None, executor=None, directory=None, verbose=0):
        """Trains the members.

        The parameters count from here on: after `set_params` all methods answer as before, until
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
                holds something else, or a member can't be written to a file and read back: to find
                that out first, one more is built of each `build` than is trained.
            RuntimeError: If a member could not be trained; the message names it. If another `fit`
                or `save` is writing to the directory.
        """
        self._check()
        self._keep_parameters()
        # Until it is trained it is not fitted, rather than half of it what it was.
        vars(self).pop("members_", None)
        self._digest = None
        data = self._read(x, y, sample_weight)
        with _store.opened(directory) as store:
            self.seed_ = self._choose_seed(store)
            if store is not None:
                self._take_up(store, data)
            if store is not None and store.manifest["finished"]:
                if store.is_whole():
                    self._restore_all(store, allow_pickle=True)
                    self._evaluate(data)
                    return self
                store.reopen()
            with _members.opened(executor, store, self._count(), verbose) as members:
                self._train(data, members)
            self._evaluate(data)
            if store is not None:
                store.finish({"state": self._full_state(), "members": self._named(store)})
        return self

    def predict(self, x):
        """The label of each sample; for regression its numbers.

        Args:
            x: Array `(samples, …)`.
        """
        outputs = self._outputs(self._check_x(x))
        if self._used("task") == "regression":
            return outputs.reshape(len(outputs), *self.target_shape_)
        return self.classes_[outputs.argmax(-1)]

    def score(self, x, y, sample_weight=None):
        """Accuracy; for regression the coefficient of determination.

        Args:
            x: Array `(samples, …)`.
            y: Labels or numbers.
            sample_weight: Weight of each sample, or None.
        """
        measure = r2_score if self._used("task") == "regression" else accuracy_score
        return measure(y, self.predict(x), sample_weight=sample_weight)

    def save(self, path):
        """Writes the ensemble to a directory, which `kdl.ensembles.load` reads.

        It is the ensemble that `fit` made, with the parameters that it was told then: what
        `set_params` has changed since is for the next `fit`, and no part of it. What an older
        ensemble left there is replaced in one step.

        Args:
            path: The directory.

        Raises:
            ValueError: If the directory holds other files.
            RuntimeError: If a `fit` or another `save` is writing to it.
        """
        self._check_fitted()
        with _store.opened(path) as store:
            names = {
                key: store.add_file(key, _worker.write_model(model))
                for key, model in enumerate_keys(self.members_)
            }
            store.finish({**self._header(), "state": self._full_state(), "members": names})

    def to_keras(self):
        """One functional model with the members inside: `(batch, …)` → `(batch, classes)`.

        Its outputs are those of `predict_proba`, for regression those of `predict`, of the targets'
        shape. It is a copy: what is done to it leaves the ensemble alone.
        """
        self._check_fitted()
        inputs = keras.Input(self.input_shape_, name="image")
        outputs = self._symbolic(inputs)
        if self._used("task") == "regression" and not self.target_shape_:
            outputs = keras.ops.squeeze(outputs, -1)
        return keras.Model(inputs, outputs, name=_snake(type(self).__name__))

    # scikit-learn asks these to tell classifiers from regressors: the first from version 1.6 on.
    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, RegressorTags, TargetTags

        tags = super().__sklearn_tags__()
        tags.target_tags = TargetTags(required=True)
        tags.estimator_type = self._estimator_type
        if self._used("task") == "regression":
            tags.regressor_tags = RegressorTags()
        else:
            tags.classifier_tags = ClassifierTags()
        return tags

    @property
    def _estimator_type(self):
        return "regressor" if self._used("task") == "regression" else "classifier"

    def _check(self):
        """Checks the constructor's arguments, which scikit-learn wants unchecked until `fit`."""
        if self.task not in _TASKS:
            raise ValueError(f"task must be one of {', '.join(_TASKS)}; received {self.task!r}.")
        if self.seed is not None:
            check_integer("seed", self.seed, least=0)
        check_fit_arguments(self.fit_arguments)

    def _read(self, x, y, sample_weight):
        """The data, checked; sets `input_shape_` and what tells how targets look."""
        x = _check_array(x)
        self.input_shape_ = x.shape[1:]
        if self.task == "regression":
            y = np.asarray(y)
            self.target_shape_ = y.shape[1:]
            targets = _check_numbers(y)
        else:
            self.classes_, targets = _encode(y)
        if len(targets) != len(x):
            raise ValueError(f"x has {len(x)} samples, y has {len(targets)}.")
        return Data(x, targets, _check_weights(sample_weight, len(x)))

    def _check_x(self, x):
        self._check_fitted()
        x = _check_array(x)
        if x.shape[1:] != self.input_shape_:
            raise ValueError(
                f"x must have the shape (samples, {', '.join(map(str, self.input_shape_))}) that "
                f"fit saw; received {x.shape}."
            )
        return x

    def _check_fitted(self):
        if not hasattr(self, "members_"):
            raise NotFittedError(f"This {type(self).__name__} is not fitted; call fit first.")

    @property
    def _width(self):
        """Number of outputs of a member."""
        if self._used("task") == "regression":
            return int(np.prod(self.target_shape_, dtype=int))
        return len(self.classes_)

    def _job(self, data, number, recipe, name=None, key=None, **changes):
        """The job of a member.

        Args:
            data: What it trains on.
            number: Number of the training, from which its seed follows.
            recipe: The `Recipe`, or its bytes.
            name: What messages call it; "member 3" by default.
            key: What the directory calls it; the number by default.
            **changes: Fields of the job other than those of `data`.
        """
        fields = {"y": data.y, "samples": None, "weights": data.weights, **changes}
        return _worker.Job(
            name=f"{name or f'member {number}'} of {type(self).__name__}",
            key=str(number) if key is None else key,
            seed=int(self._generator(number).integers(2**32)),
            recipe=recipe,
            x=data.x,
            outputs=self._width,
            settings=_worker.settings(),
            **fields,
        )

    def _generator(self, number, purpose=0):
        """Random numbers that follow from seed, member and purpose alone."""
        return np.random.default_rng([self.seed_, number, purpose])

    def _recipe(self, build, fit_arguments=None):
        """How a member is made."""
        if isinstance(build, keras.Model):
            build = _template(build)
        elif not callable(build):
            raise ValueError(
                f"build must be a function of (input_shape, outputs) that returns a compiled "
                f"model, or a compiled model; received {build!r}."
            )
        arguments = {**(self.fit_arguments or {}), **(fit_arguments or {})}
        if self.task == "classification":
            _check_class_weight(arguments.get("class_weight"), self._width)
        if "validation_data" in arguments:
            arguments["validation_data"] = self._encode_validation(arguments["validation_data"])
        return _worker.Recipe(build, arguments)

    def _encode_validation(self, data):
        if not isinstance(data, tuple | list) or len(data) not in (2, 3):
            raise ValueError("validation_data in fit_arguments must be (x, y) or (x, y, weights).")
        x, y, *weights = data
        if self.task == "regression":
            return (x, _check_numbers(y), *weights)
        y = np.asarray(y)
        numbers = np.searchsorted(self.classes_, y).clip(0, len(self.classes_) - 1)
        if not np.array_equal(self.classes_[numbers], y):
            raise ValueError("validation_data has labels that y does not have.")
        return (x, numbers, *weights)

    def _answer(self, model, x):
        """What a member says: probabilities, or for regression numbers."""
        found = self._run_member(model, x)
        if self._used("task") == "regression":
            return found
        if self._used("from_logits"):
            return softmax(found)
        _check_probabilities(found)
        return found

    def _run_member(self, model, x):
        """The outputs of a member, float64 `(samples, outputs)`."""
        size = (self.fit_arguments or {}).get("batch_size") or 32
        found = np.asarray(model.predict(x, batch_size=size, verbose=0), "float64")
        if found.shape != (len(x), self._width):
            raise ValueError(
                f"A member must answer with the shape (samples, {self._width}); it answered with "
                f"{found.shape}."
            )
        if not np.isfinite(found).all():
            raise ValueError(
                "A member answered with numbers that are not finite: its training diverged. Lower "
                "the learning rate in build."
            )
        return found

    # The directory.

    def _choose_seed(self, store):
        if self.seed is not None:
            return int(self.seed)
        known = store and store.manifest and store.manifest.get("seed")
        return known if known is not None else int(np.random.default_rng().integers(2**32))

    def _take_up(self, store, data):
        self._digest = data.digest()
        header = self._header()
        if store.manifest is None:
            store.plan(header)
            return
        old = {
            "labels": _labels_of(store.manifest),
            **store.manifest,
            **store.manifest["arguments"],
        }
        new = {**header, **header["arguments"]}
        parts = ["class", *header["arguments"], "data"]
        if old["labels"] is not None:
            parts.append("labels")
        differing = [part for part in parts if old.get(part) != new[part]]
        if differing:
            raise ValueError(
                f"{store.directory} holds an ensemble with other {', '.join(differing)}. Choose "
                f"another directory, or the same class, arguments and data."
            )

    def _keep_parameters(self):
        """Keeps what `fit` uses, and its description: `set_params` is for the next one."""
        self._parameters = self.get_params(deep=False)
        self._description = {
            "arguments": {name: describe(value) for name, value in self._parameters.items()},
            "parameters": copy.deepcopy(plain_values(self._parameters)),
        }

    def _used(self, name):
        """A parameter as `fit` used it."""
        return vars(self).get("_parameters", {}).get(name, getattr(self, name))

    def _header(self):
        return {
            "class": type(self).__name__,
            **self._description,
            "seed": self.seed_,
            "data": getattr(self, "_digest", None),
            "labels": self._targets().get("classes", {}).get("values"),
        }

    def _named(self, store):
        """The members' files among those of all trainings."""
        return {key: store.manifest["members"][key] for key, _ in enumerate_keys(self.members_)}

    def _full_state(self):
        return {"input_shape": list(self.input_shape_), **self._targets(), **self._state()}

    def _targets(self):
        """What tells how the targets look."""
        if self._used("task") == "regression":
            return {"target_shape": list(self.target_shape_)}
        classes = self.classes_
        values = classes if classes.dtype.kind in "biufUO" else classes.astype(str)
        return {"classes": {"dtype": classes.dtype.str, "values": values.tolist()}}

    def _restore_shapes(self, state):
        """How data looks, as a directory tells; `fit` knows it of its own."""
        self.input_shape_ = tuple(state["input_shape"])
        if self.task == "regression":
            self.target_shape_ = tuple(state["target_shape"])
        else:
            classes = state["classes"]
            self.classes_ = np.array(classes["values"], np.dtype(classes["dtype"]))

    def _restore_all(self, store, allow_pickle):
        manifest = store.manifest
        self._parameters = self.get_params(deep=False)
        self._description = {part: manifest[part] for part in ("arguments", "parameters")}
        self.seed_, self._digest = manifest["seed"], manifest["data"]
        self.members_ = [read_member(store, key) for key in manifest["members"]]
        self._restore(manifest["state"], allow_pickle)

    def _evaluate(self, data):
        """What follows from members and training data together."""

    def _state(self):
        return {}

    def _restore(self, state, allow_pickle):
        """Nothing but members, unless a subclass says so."""


class Data:
    """Training data: `x`, `y` (numbers of classes, or float rows), `weights` or None."""

    def __init__(self, x, y, weights):
        self.x, self.y, self.weights = x, y, weights

    def digest(self):
        """A fingerprint."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (self.x, self.y, self.weights):
            if array is not None:
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()


def _labels_of(manifest):
    """The labels in a manifest of a version that told them of finished ensembles alone, or None."""
    return manifest.get("state", {}).get("classes", {}).get("values")


def read_member(store, key):
    """A model of the directory.

    Raises:
        FileNotFoundError: If its file is missing.
        ValueError: If it can't be read, or is not what was written.
    """
    name = store.manifest["members"][key]
    try:
        content = store.get(key)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} is missing in {store.directory}; train it anew.") from None
    if not store.is_as_written(key, content):
        raise ValueError(
            f"{name} in {store.directory} is damaged, or a file of something else: it does not "
            f"hold what was written there. Train it anew."
        )
    try:
        return _worker.read_model(content)
    except Exception as error:  # of zip files, HDF5 and Keras
        raise ValueError(f"Cannot read {name} in {store.directory}: {error}") from error


def enumerate_keys(members):
    """Pairs of the key in the directory and the member."""
    return [(str(number), model) for number, model in enumerate(members)]


def check_choice(name, value, choices):
    """Raises ValueError unless a value is among the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; received {value!r}.")


def check_positive(name, value):
    """Raises ValueError unless a value is a positive, finite number."""
    if not isinstance(value, int | float | np.number) or not 0 < value < float("inf"):
        raise ValueError(f"{name} must be a positive number; received {value!r}.")


def check_fit_arguments(arguments):
    """Raises ValueError unless they are a dict without what `fit` sets itself."""
    if arguments is not None and not isinstance(arguments, dict):
        raise ValueError(f"fit_arguments must be a dict or None; received {arguments!r}.")
    taken = [name for name in _OWN if name in (arguments or {})]
    if taken:
        raise ValueError(f"fit_arguments may not hold {', '.join(taken)}: pass it to fit.")


def softmax(scores):
    """Probabilities of float64 scores, along the last axis."""
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def _template(model):
    if not model.compiled or not model.built:
        raise ValueError("build must be a compiled model that is built, or a function.")
    try:
        content = _worker.write_model(model)
        _worker.read_model(content)
        return _worker.SavedModel(content, model.get_compile_config())
    except OSError:
        raise
    except Exception as error:  # of Keras and of whoever wrote the layers
        raise _worker.model_error(model, "build", error) from error


def _check_probabilities(values):
    if values.min() < -1e-6 or abs(values.sum(-1) - 1).max() > 1e-2:
        raise ValueError(
            "The members' outputs must be probabilities, not negative and with the sum 1. End the "
            "model in a softmax, or pass from_logits=True."
        )


def _check_class_weight(weights, classes):
    if isinstance(weights, dict) and not set(weights) <= set(range(classes)):
        raise ValueError(
            f"class_weight in fit_arguments must be by the numbers of the classes in sorted order, "
            f"0 to {classes - 1}; it has {', '.join(map(repr, weights))}."
        )


def _check_array(x):
    arrays = isinstance(x, list | tuple) or hasattr(x, "__array__")
    # NumPy would make an array of a PyDataset's batches, or of a dict as one thing.
    try:
        x = np.asarray(x) if arrays else None
    except ValueError:  # rows of different lengths
        x = None
    if x is None:
        raise ValueError(
            "x must be one array (samples, …). Datasets, generators and several inputs can't be "
            "shared out among members: read them into an array first, such as "
            "np.concatenate([batch for batch, _ in dataset])."
        )
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(
            f"x must have the shape (samples, …), with one sample or more; received {x.shape}."
        )
    if x.dtype.kind not in "biuf":
        raise ValueError(f"x must be an array of numbers; received the dtype {x.dtype}.")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError("x must hold finite numbers; it has NaN or infinite ones.")
    return x


def _check_numbers(y):
    try:
        y = np.asarray(y).astype("float32")
    except (TypeError, ValueError) as error:
        raise ValueError("y must hold numbers for task='regression'.") from error
    if y.ndim not in (1, 2) or not np.isfinite(y).all():
        raise ValueError(
            f"y must be finite numbers of the shape (samples,) or (samples, outputs); received the "
            f"shape {y.shape}."
        )
    return y.reshape(len(y), -1)


def _encode(y):
    """Classes, and the number of the class of each sample."""
    y = np.asarray(y)
    if y.dtype.kind == "T":  # NumPy's StringDType, which files and scikit-learn do not know
        y = np.array(y.tolist())
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"y must have one label a sample, the shape (samples,); received {y.shape}. Labels in "
            f"one-hot form: pass y.argmax(-1)."
        )
    try:
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
    except TypeError as error:  # None, pandas.NA, or labels of several kinds
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        raise ValueError(
            f"y must have labels of one kind, which can be sorted, and none may be missing; it has "
            f"{', '.join(kinds)}."
        ) from error
    if len(classes) < 2:
        raise ValueError(f"y must have two classes or more; it has {classes.tolist()}.")
    return classes, numbers.astype("int32")


def _check_weights(weights, count):
    if weights is None:
        return None
    try:
        weights = np.asarray(weights, "float64")
    except (TypeError, ValueError) as error:  # a dict, words
        raise ValueError(
            f"sample_weight must be {count} numbers, one a sample; received {weights!r}."
        ) from error
    if weights.shape != (count,) or not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError(
            f"sample_weight must be {count} finite numbers that are not negative; received the "
            f"shape {weights.shape}."
        )
    if weights.sum() == 0:
        raise ValueError("sample_weight must have a positive sum; all weights are 0.")
    return weights


def _snake(name):
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
