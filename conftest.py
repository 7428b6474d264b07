"""What the tests and the examples in docstrings share."""

import functools
import os
import sys

import numpy as np
import pytest


def pytest_configure(config):
    """Prepares the backend, and lets tests prove files with few inputs."""
    config.addinivalue_line("filterwarnings", "ignore:The proof is weak:UserWarning")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "jax":
        _draw_with_numpy()
    if backend == "tensorflow":
        _skip_rewriting_of_graphs()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Gives a test and its fixtures the same random numbers in every run, whatever ran before."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _shared_converter():
    """One TensorFlow process for all exports of a test process: each start takes seconds.

    It is here, not in `tests`, for the examples in docstrings too.
    """
    from kdl.deploy import warm_converter

    with warm_converter():
        yield


def _skip_rewriting_of_graphs():
    """TensorFlow does not rewrite graphs for speed, which takes longer than to run them once.

    That took a third of the time of a `predict` or `fit` of few batches.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _draw_with_numpy():
    """First weights on JAX come from NumPy: it would compile a sampler for every shape.

    That took a fifth of the time of a sample of the tests. Numbers drawn in compiled code and in
    other processes are JAX's own.
    """
    import jax

    def replace(name, draw):
        original = getattr(jax.random, name)

        @functools.wraps(original)
        def sample(key, shape=(), dtype=float, **bounds):
            if isinstance(key, jax.core.Tracer):
                return original(key, shape=shape, dtype=dtype, **bounds)
            rng = np.random.default_rng(np.asarray(key).tolist())
            return jax.numpy.asarray(draw(rng, shape, **bounds).astype(dtype))

        setattr(jax.random, name, sample)

    def truncated(rng, shape, lower, upper):
        found = rng.standard_normal(shape)
        while (outside := (found < lower) | (found > upper)).any():
            found[outside] = rng.standard_normal(outside.sum())
        return found

    replace("normal", lambda rng, shape: rng.standard_normal(shape))
    replace("truncated_normal", truncated)
    replace("uniform", lambda rng, shape, minval=0, maxval=1: rng.uniform(minval, maxval, shape))
