"""Gradients by the configured backend, the only one that is imported."""

import keras
import numpy as np

from kdl.testing import _checks


def weighted_sum(outputs):
    """Sum of the float outputs under fixed random weights, so that no normaliser cancels it."""
    floats = [o for o in keras.tree.flatten(outputs) if _checks.is_float(o)]
    if not floats:
        raise AssertionError("no output is a float tensor, so nothing can be learned.")
    total = 0.0
    for seed, output in enumerate(floats):
        weights = _checks.random_array(tuple(output.shape), seed=seed + 1)
        total += keras.ops.sum(keras.ops.multiply(keras.ops.cast(output, "float32"), weights))
    return total


def gradients(forward, variables, inputs):
    """Gradients of `weighted_sum(forward(inputs))`.

    Returns:
        Two lists of arrays: one for `variables`, one for the float tensors of `inputs`. ``None``
        stands where the result does not depend on it.
    """
    backend = keras.backend.backend()
    by_backend = {
        "tensorflow": _tensorflow_gradients,
        "jax": _jax_gradients,
        "torch": _torch_gradients,
    }
    if backend not in by_backend:
        raise AssertionError(f"gradients need one of {sorted(by_backend)}, not {backend!r}.")
    found = by_backend[backend](forward, variables, inputs)
    found = [None if g is None else keras.ops.convert_to_numpy(g) for g in found]
    return found[: len(variables)], found[len(variables) :]


def _tensorflow_gradients(forward, variables, inputs):
    import tensorflow as tf

    inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
    floats = [x for x in keras.tree.flatten(inputs) if _checks.is_float(x)]
    with tf.GradientTape() as tape:
        tape.watch(floats)
        total = weighted_sum(forward(inputs))
    found = tape.gradient(total, [v.value for v in variables] + floats)
    return [None if g is None else tf.convert_to_tensor(g) for g in found]


def _jax_gradients(forward, variables, inputs):
    import jax

    leaves = keras.tree.flatten(inputs)

    def total(values, floats):
        remaining = iter(floats)
        merged = [next(remaining) if _checks.is_float(x) else x for x in leaves]
        state = list(zip(variables, values, strict=True))
        with keras.StatelessScope(state_mapping=state):
            return weighted_sum(forward(keras.tree.pack_sequence_as(inputs, merged)))

    values = [v.value for v in variables]
    floats = [jax.numpy.asarray(x) for x in leaves if _checks.is_float(x)]
    by_value, by_float = jax.jit(jax.grad(total, argnums=(0, 1)))(values, floats)
    return [*by_value, *by_float]


def _torch_gradients(forward, variables, inputs):
    import torch

    inputs = keras.tree.map_structure(keras.ops.convert_to_tensor, inputs)
    floats = [x.requires_grad_() for x in keras.tree.flatten(inputs) if _checks.is_float(x)]
    total = weighted_sum(forward(inputs))
    wanted = [v.value for v in variables] + floats
    if not total.requires_grad:
        return [None] * len(wanted)
    return torch.autograd.grad(total, wanted, allow_unused=True)


def check_gradients(forward, variables, inputs, zero_gradient):
    """All gradients are finite, and those of undeclared variables are not all zero."""
    unknown = [n for n in zero_gradient if not any(_is_named(v, n) for v in variables)]
    if unknown:
        paths = [v.path for v in variables]
        raise AssertionError(f"zero_gradient names {unknown}, the trainable weights are {paths}.")
    by_variable, by_input = gradients(forward, variables, inputs)
    for variable, gradient in zip(variables, by_variable, strict=True):
        check_finite_gradient(gradient, f"weight {variable.path!r}")
        declared = any(_is_named(variable, name) for name in zero_gradient)
        if not declared and (gradient is None or not gradient.any()):
            raise AssertionError(
                f"the gradient of weight {variable.path!r} is zero. Connect the weight to the "
                "output, or name it in zero_gradient if that is meant."
            )
    for gradient in by_input:
        check_finite_gradient(gradient, "the input")


def _is_named(variable, name):
    return variable.path == name or variable.path.endswith(f"/{name}")


def check_finite_gradient(gradient, what):
    if gradient is not None and not np.isfinite(gradient).all():
        raise AssertionError(f"the gradient of {what} is not finite.")
