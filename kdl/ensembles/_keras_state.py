"""Keras's settings and random generators, so that a member is the same wherever it is trained.

Keras is imported inside the functions, as in `_member_training`.
"""

import contextlib
import random
import threading

import numpy as np


def keras_settings():
    """Keras's settings, which another process or thread takes over."""
    import keras

    return {
        "backend": keras.backend.backend(),
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
        "dtype_policy": keras.config.dtype_policy().name,
    }


@contextlib.contextmanager
def reproducible(seed, settings):
    """Seed all generators and apply settings; leave Python's, NumPy's and Keras's as they were.

    Args:
        seed: The seed.
        settings: `keras_settings()` of the process that asks.
    """
    import keras

    before = keras_settings()
    with generators_restored():
        try:
            _apply(settings)
            keras.utils.set_random_seed(seed)  # which may import TensorFlow, and that may draw
            keras.utils.set_random_seed(seed)
            with _own_seeds(seed):
                yield
        finally:
            _apply(before)


@contextlib.contextmanager
def generators_restored():
    """Leave the generators of Python and NumPy as they were: Keras draws seeds of new layers."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@contextlib.contextmanager
def _own_seeds(seed):
    """Within it this thread alone draws the seeds of Keras's layers.

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


def _apply(settings):
    import keras

    keras.config.set_floatx(settings["floatx"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_dtype_policy(settings["dtype_policy"])
