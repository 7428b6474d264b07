"""Training of one member, in this process or in another one, from plain data to a plain file.

Keras is imported inside the functions: a process that has not imported it yet gets the backend of
the one that asks.
"""

import contextlib
import copy
import os
import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdl.ensembles._keras_state import reproducible
from kdl.ensembles._model_files import SerializationError, write_and_check, write_model
from kdl.ensembles._recipe import unpacked

_HOME = os.getpid()
_ONE_AT_A_TIME = threading.Lock()  # random generators and Keras's settings are the process's


class MemberError(RuntimeError):
    """A member could not be trained; the message names it."""


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


def train(job):
    """Train a member.

    Returns:
        The model as the bytes of a `.keras` file, without its optimizer.

    Raises:
        MemberError: Whatever went wrong.
    """
    with _errors_named(job):
        recipe = unpacked(job.recipe)
        model = _build(job, recipe)
        take = slice(None) if job.samples is None else job.samples
        model.fit(
            job.x[take],
            job.y[take],
            sample_weight=job.weights,
            **{"verbose": 0, **copy.deepcopy(recipe.fit_arguments)},
        )
        return write_model(model)


def dry_run(job):
    """Build and write a member without training it; `train` begins anew, as if it had not been.

    Returns:
        The bytes of a `.keras` file.

    Raises:
        SerializationError: If it can't be written and read back.
        MemberError: Whatever else went wrong, such as a full disk.
    """
    with _errors_named(job):
        model = _build(job, unpacked(job.recipe))
        if not _has_output_shape(model):
            _check_outputs(model(job.x).shape, job.outputs)
        return write_and_check(model, job.name)


@contextlib.contextmanager
def _errors_named(job):
    """The seeds and settings of a member, and errors that name it."""
    try:
        _check_process(job.settings["backend"])
        with _ONE_AT_A_TIME, reproducible(job.seed, job.settings):
            yield
    except SerializationError:
        raise
    except Exception as error:
        # As text alone: not every error of a backend can travel between processes.
        raise MemberError(
            f"The training of {job.name} failed: {type(error).__name__}: {error}"
        ) from error


def _build(job, recipe):
    model = recipe.build(job.x.shape[1:], job.outputs)
    _check_model(model, job.outputs)
    _check_loss(model, job.y)
    return model


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

    own = keras.backend.backend()
    if own != backend:
        raise RuntimeError(
            f"the process that was to train it runs Keras on {own}, the ensemble on {backend}. "
            f"Start it with KERAS_BACKEND={backend}."
        )


def _check_model(model, outputs):
    import keras

    if not isinstance(model, keras.Model):
        raise ValueError(f"build must return a compiled keras.Model; it returned {model!r}.")
    if not model.compiled:
        raise ValueError("build must return a compiled model; call model.compile(…) in it.")
    if _has_output_shape(model):
        _check_outputs(model.output_shape, outputs)


def _has_output_shape(model):
    return model.built and hasattr(model, "output_shape")


def _check_outputs(shape, outputs):
    if tuple(shape)[1:] != (outputs,):
        raise ValueError(
            f"the model must have outputs of shape (batch, {outputs}), the argument of "
            f"build; they have {tuple(shape)}."
        )


def _check_loss(model, targets):
    """Raise ValueError if the targets are numbers, and the loss wants classes or their shares."""
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    plain = name.lower().replace("_", "")
    classes = "sparse" in plain or targets.min() < 0
    if targets.dtype.kind == "f" and "crossentropy" in plain and classes:
        raise ValueError(
            f"the model is compiled with {name}, but it is trained on rows of numbers, such as "
            f"the residuals of gradient boosting, and not on classes: compile it with 'mse'."
        )
