"""Concrete values of tensors, and errors in compiled steps, which have none."""

import keras
from keras import ops


def concrete_values(tensor):
    """The values of a tensor as a NumPy array, or None where it has none.

    It has none in a compiled step; and on an accelerator PyTorch would wait for them.
    """
    if _is_traced(keras.ops.convert_to_tensor(tensor)):
        return None
    return keras.ops.convert_to_numpy(tensor)


def raise_if(condition, message):
    """Raise ValueError if a bool tensor of rank 0 is true.

    Args:
        condition: The tensor.
        message: Text of the error.

    Returns:
        The tensor where it has no concrete value, for `marked`; else None.
    """
    values = concrete_values(condition)
    if values is None:
        return condition
    if values:
        raise ValueError(message)
    return None


def marked(values, *wrong):
    """`values`, or NaN in their place if something is wrong: a compiled step raises no error.

    The gradient by `values` stays as it is, so that weights are not lost with the step.

    Args:
        values: Float tensor.
        *wrong: What `raise_if` gave.
    """
    for condition in wrong:
        if condition is not None:
            values = values + ops.cast(ops.where(condition, float("nan"), 0.0), values.dtype)
    return values


def _is_traced(tensor):
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return tensor.device.type != "cpu" or torch.compiler.is_compiling()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(tensor)
    import jax

    return isinstance(tensor, jax.core.Tracer)
