"""Gradients by the configured backend, the only one that is imported."""

import keras
import numpy as np

from kdl.testing import _checks


def weighted_sum(outputs):
    """Sum of the float outputs under fixed random weights, so that no normalizer cancels it."""
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


def fit_gradients(model, inputs):
    """Gradients that one compiled training step of `model` sees, one for each trainable weight.

    The loss is a sum of the outputs under random weights, as in `weighted_sum`. Compiling a network
    is what takes long, so this is also the proof that it fits.
    """
    outputs = keras.tree.flatten(model(inputs))
    targets = [_checks.random_array(tuple(o.shape), seed=i + 1) for i, o in enumerate(outputs)]
    trained = keras.Model(model.input, keras.tree.flatten(model.outputs))
    # After the first step, momentum is the gradient times this rate.
    rate = 2.0**-10
    optimizer = keras.optimizers.SGD(rate, momentum=0.5)
    trained.compile(optimizer, loss=[_product] * len(targets))
    _checks.check_fit_step(trained, inputs, targets)
    momentums = zip(trained.trainable_variables, optimizer.momentums, strict=True)
    found = {id(v): keras.ops.convert_to_numpy(m) / -rate for v, m in momentums}
    return [found[id(v)] for v in model.trainable_variables]


def _product(targets, outputs):
    return keras.ops.sum(keras.ops.multiply(outputs, targets), axis=-1)


def check_gradients(forward, variables, inputs, zero_gradient):
    """Gradients of `weighted_sum` are as `check_found_gradients` says, those of inputs too."""
    by_variable, by_input = gradients(forward, variables, inputs)
    check_found_gradients(variables, by_variable, zero_gradient)
    for gradient in by_input:
        check_finite_gradient(gradient, "the input")


def check_found_gradients(variables, by_variable, zero_gradient):
    """All gradients are finite, and those of undeclared variables are not all zero."""
    unknown = [n for n in zero_gradient if not any(_is_named(v, n) for v in variables)]
    if unknown:
        paths = [v.path for v in variables]
        raise AssertionError(f"zero_gradient names {unknown}, the trainable weights are {paths}.")
    for variable, gradient in zip(variables, by_variable, strict=True):
        check_finite_gradient(gradient, f"weight {variable.path!r}")
        declared = any(_is_named(variable, name) for name in zero_gradient)
        if not declared and (gradient is None or not gradient.any()):
            raise AssertionError(
                f"the gradient of weight {variable.path!r} is zero. Connect the weight to the "
                "output, or name it in zero_gradient if that is meant."
            )


def _is_named(variable, name):
    return variable.path == name or variable.path.endswith(f"/{name}")


def check_finite_gradient(gradient, what):
    if gradient is not None and not np.isfinite(gradient).all():
        raise AssertionError(f"the gradient of {what} is not finite.")
