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
from dataclasses import dataclass
from typing import Any

import numpy as np

_HOME = os.getpid()
_ONE_AT_A_TIME = threading.Lock()  # random generators and Keras's settings are the process's


class MemberError(RuntimeError):
    """A member could not be trained; the message names it."""


@dataclass(frozen=True)
class Recipe:
    """How a member is made: a function, or a saved model, and what `fit` is told."""

    build: Any
    fit_arguments: dict

    def packed(self):
        """The recipe as bytes, for another process."""
        plain = _try_pickle(self)
        # The main script of another process is another module, or none in a notebook.
        if plain is not None and b"__main__" not in plain:
            return plain
        if importlib.util.find_spec("cloudpickle"):
            import cloudpickle

            return cloudpickle.dumps(self)
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
        import keras

        model = keras.models.clone_model(read_model(self.content))
        model.compile_from_config(copy.deepcopy(self.compile_config))
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


def train(job):
    """Trains a member.

    Returns:
        The model as the bytes of a `.keras` file, without its optimizer.

    Raises:
        MemberError: Whatever went wrong.
    """
    try:
        _check_process(job.settings["backend"])
        with _ONE_AT_A_TIME, _repeatable(job.seed, job.settings):
            recipe = job.recipe if isinstance(job.recipe, Recipe) else pickle.loads(job.recipe)
            model = recipe.build(job.x.shape[1:], job.outputs)
            _check_model(model, job.outputs)
            take = slice(None) if job.samples is None else job.samples
            model.fit(
                job.x[take],
                job.y[take],
                sample_weight=job.weights,
                **{"verbose": 0, **copy.deepcopy(recipe.fit_arguments)},
            )
            return write_model(model)
    except Exception as error:
        # As text alone: not every error of a backend can travel between processes.
        raise MemberError(
            f"The training of {job.name} failed: {type(error).__name__}: {error}"
        ) from error


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


def _try_pickle(thing):
    try:
        return pickle.dumps(thing)
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

    before, python_state, numpy_state = settings(), random.getstate(), np.random.get_state()
    try:
        _apply(wanted)
        keras.utils.set_random_seed(seed)  # which may import TensorFlow, and that may draw
        keras.utils.set_random_seed(seed)
        with _own_seeds(seed):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        _apply(before)


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
    shape = model.output_shape if model.built else (None, outputs)
    if tuple(shape)[1:] != (outputs,):
        raise ValueError(
            f"the model must have outputs of shape (batch, {outputs}), as build was told; they "
            f"have {shape}."
        )
