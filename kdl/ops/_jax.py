"""Compilation of several operations as one on JAX, outside of compiled code."""

import functools

import keras
from keras import ops


def as_one(function, tensors, *settings):
    """`function(*tensors, *settings)`, as one operation where JAX would run many.

    Outside of compiled code JAX compiles every operation by itself, for each shape anew. For the
    dozens of slices and sums that stand for one convolution that would take seconds.

    Args:
        function: Pure function of a module, not a closure: its compiled form is kept.
        tensors: Its tensors.
        *settings: What else it takes, hashable.
    """
    if keras.backend.backend() != "jax":
        return function(*tensors, *settings)
    import jax

    tensors = [ops.convert_to_tensor(x) for x in tensors]
    if any(isinstance(x, jax.core.Tracer) for x in tensors):
        return function(*tensors, *settings)
    return _compiled(function)(tensors, settings)


@functools.cache
def _compiled(function):
    import jax

    def call(tensors, settings):
        return function(*tensors, *settings)

    return jax.jit(call, static_argnums=1)
