"""Training of one member, in this process or in another one, from plain data to a plain file.

Keras is imported inside the functions: a process that has not imported it yet gets the backend of
the one that asks.
"""

import contextlib
import copy
import importlib.util
import os
import pickle
import random
import sys
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

_HOME = os.getpid()
_ONE_AT_A_TIME = threading.Lock()  # random generators and Keras's settings are the process's


class MemberError(RuntimeError):
    """A member could not be trained; the message names it."""


class FileError(ValueError):
    """A member can't go through a file; the message says why, and what to do."""


@dataclass(frozen=True)
class Recipe:
    """How a member is made: a function, or a saved model, and what `fit` is told."""

    build: Any
    fit_arguments: dict
    registered: dict = field(default_factory=dict)  # with Keras, by the main script

    def packed(self):
        """The recipe as bytes, for another process."""
        whole = replace(self, registered=_registered_by_the_main_script())
        plain = _try_pickle(whole)
        # The main script of another process is another module, or none in a notebook.
        if plain is not None and b"__main__" not in plain:
            return plain
        if importlib.util.find_spec("cloudpickle"):
            import cloudpickle

            return _try_pickle(whole, cloudpickle.dumps) or cloudpickle.dumps(self)
        plain = plain or _try_pickle(self)
        if plain is not None:
            return plain
        raise ValueError(
            f"build={self.build!r} or fit_arguments can't be sent to another process. Use a "
            f"function of a module, run: pip install cloudpickle, or train with executor=None."
        )


@dataclass(frozen=True)
class SavedModel:
    """A compiled model as a template: each call gives one like it with new weights."""

    content: bytes
    compile_config: dict

    def __call__(self, input_shape, outputs):
        """A compiled model; the arguments are those of any `build`."""
        from kdl.graph import copy_model

        model = copy_model(read_model(self.content), weights=False)
        try:
            model.compile_from_config(copy.deepcopy(self.compile_config))
        except Exception as error:  # whatever a loss or an optimizer raises
            raise file_error(f"What {_called(model)} is compiled with", error) from error
        return model


@dataclass(frozen=True)
class Job:
    """All that training of a member needs."""

    name: str  # in messages
    key: str  # in the directory
    seed: int
    recipe: Any  # a Recipe, or its bytes
    x: np.ndarray
    y: np.ndarray
    samples: np.ndarray | None  # numbers of the samples to train on, None for all
    weights: np.ndarray | None  # of these samples
    outputs: int
    settings: dict


def settings():
    """Keras's settings, which another process or thread takes over."""
    import keras

    return {
        "backend": keras.backend.backend(),
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy().name,
    }


def try_out(job):
    """Makes and writes a member without training it; `train` begins anew, as if it had not been.

    Returns:
        The bytes of a `.keras` file.

    Raises:
        FileError: If it can't be written.
        MemberError: Whatever else went wrong, such as a full disk.
    """
    with _explained(job):
        model = _built(job, _recipe_of(job))
        if not model.built or not hasattr(model, "output_shape"):
            _check_outputs(model(job.x).shape, job.outputs)
        try:
            content = write_model(model)
            read_model(content)
            return content
        except OSError:
            raise  # a full disk is not the layers' fault
        except Exception as error:  # of Keras and of whoever wrote the layers
            raise model_error(model, job.name, error) from error


def train(job):
    """Trains a member.

    Returns:
        The model as the bytes of a `.keras` file, without its optimizer.

    Raises:
        MemberError: Whatever went wrong.
    """
    with _explained(job):
        recipe = _recipe_of(job)
        model = _built(job, recipe)
        take = slice(None) if job.samples is None else job.samples
        model.fit(
            job.x[take],
            job.y[take],
            sample_weight=job.weights,
            **{"verbose": 0, **copy.deepcopy(recipe.fit_arguments)},
        )
        return write_model(model)


def file_error(what, error):
    """The `FileError` that says what can't go through a file and how it can."""
    reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return FileError(
        f"{what} can't be written to a file and read back, as members must be, so nothing was "
        f"trained: {type(error).__name__}: {reason}. Decorate its class (of a Lambda layer or a "
        f"loss the function, which may not be a lambda) with "
        f"@keras.saving.register_keras_serializable() in a module that every process imports, and "
        f"let get_config return all arguments of the constructor."
    )


def model_error(model, owner, error):
    """The `FileError` of a model that can't be written; it names the first layer at fault."""
    import keras

    for layer in _inner_layers(model):
        try:
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        except Exception as its_error:
            return file_error(f"Layer {_called(layer)} of {owner}", its_error)
    return file_error(f"Model {_called(model)} of {owner}", error)


def write_model(model):
    """The bytes of a `.keras` file that every backend can load."""
    from kdl.training.portable import save_portable

    with tempfile.TemporaryDirectory(prefix="kdl-member-") as folder:
        path = os.path.join(folder, "member.keras")
        save_portable(model, path)
        with open(path, "rb") as file:
            return file.read()


def read_model(content):
    """The model of the bytes of a `.keras` file."""
    import keras

    with tempfile.TemporaryDirectory(prefix="kdl-member-") as folder:
        path = os.path.join(folder, "member.keras")
        with open(path, "wb") as file:
            file.write(content)
        return keras.models.load_model(path, compile=False)


@contextlib.contextmanager
def _explained(job):
    """Where a member is made: its seeds and settings, and errors that name it."""
    try:
        _check_process(job.settings["backend"])
        with _ONE_AT_A_TIME, _repeatable(job.seed, job.settings):
            yield
    except FileError:
        raise
    except Exception as error:
        # As text alone: not every error of a backend can travel between processes.
        raise MemberError(
            f"The training of {job.name} failed: {type(error).__name__}: {error}"
        ) from error


def _recipe_of(job):
    if isinstance(job.recipe, Recipe):
        return job.recipe
    recipe = pickle.loads(job.recipe)
    _register(recipe.registered)
    return recipe


def _registered_by_the_main_script():
    """Classes and functions that travel as they are, and leave what was registered behind."""
    import keras

    known = keras.saving.get_custom_objects()
    return {n: each for n, each in known.items() if getattr(each, "__module__", "") == "__main__"}


def _register(things):
    import keras

    for name, thing in things.items():
        package, mark, own_name = name.rpartition(">")
        if mark:
            keras.saving.register_keras_serializable(package, own_name)(thing)
        else:
            keras.saving.get_custom_objects()[name] = thing


def _built(job, recipe):
    model = recipe.build(job.x.shape[1:], job.outputs)
    _check_model(model, job.outputs)
    _check_loss(model, job.y)
    return model


def _inner_layers(model):
    """The layers of a model, those of the models in it before these."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _inner_layers(layer)
        yield layer


def _called(layer):
    return f"{layer.name!r} ({type(layer).__name__})"


def _try_pickle(thing, dumps=pickle.dumps):
    try:
        return dumps(thing)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _check_process(backend):
    if os.getpid() != _HOME:
        raise RuntimeError(
            "this process is a fork of one that has loaded Keras, where backends can hang. Pass "
            "executor=2 for two processes, or a pool with "
            "mp_context=multiprocessing.get_context('spawn')."
        )
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    import keras

    found = keras.backend.backend()
    if found != backend:
        raise RuntimeError(
            f"the process that was to train it runs Keras on {found}, the ensemble on {backend}. "
            f"Start it with KERAS_BACKEND={backend}."
        )


@contextlib.contextmanager
def _repeatable(seed, wanted):
    """Seeds all generators; leaves Python's and NumPy's, and Keras's settings, as they were."""
    import keras

    before = settings()
    with generators_kept():
        try:
            _apply(wanted)
            keras.utils.set_random_seed(seed)  # which may import TensorFlow, and that may draw
            keras.utils.set_random_seed(seed)
            with _own_seeds(seed):
                yield
        finally:
            _apply(before)


@contextlib.contextmanager
def generators_kept():
    """Leaves the generators of Python and NumPy as they were: Keras draws seeds of new layers."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def _own_seeds(seed):
    """Within it this thread alone draws what Keras's layers are seeded with.

    Keras draws these seeds by `random.randint`. In a worker of a cluster other threads take from
    the same generator at any moment (Dask's do when they estimate sizes), so that two runs would
    differ.
    """
    own, common, thread = random.Random(seed), random.randint, threading.get_ident()

    def randint(low, high):
        draw = own.randint if threading.get_ident() == thread else common
        return draw(low, high)

    random.randint = randint
    try:
        yield
    finally:
        random.randint = common


def _apply(wanted):
    import keras

    keras.config.set_floatx(wanted["floatx"])
    keras.config.set_image_data_format(wanted["image_data_format"])
    keras.config.set_dtype_policy(wanted["dtype_policy"])


def _check_model(model, outputs):
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"build must return a compiled keras.Model; it returned {model!r}.")
    if not model.compiled:
        raise ValueError("build must return a compiled model; call model.compile(…) in it.")
    if model.built and hasattr(model, "output_shape"):
        _check_outputs(model.output_shape, outputs)


def _check_loss(model, targets):
    """Raises ValueError if the targets are numbers, and the loss wants classes or their shares."""
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    plain = name.lower().replace("_", "")
    classes = "sparse" in plain or targets.min() < 0
    if targets.dtype.kind == "f" and "crossentropy" in plain and classes:
        raise ValueError(
            f"the model is compiled with {name}, but it is trained on rows of numbers, such as "
            f"the residuals of gradient boosting, and not on classes: compile it with 'mse'."
        )


def _check_outputs(shape, outputs):
    if tuple(shape)[1:] != (outputs,):
        raise ValueError(
            f"the model must have outputs of shape (batch, {outputs}), as build was told; they "
            f"have {tuple(shape)}."
        )
