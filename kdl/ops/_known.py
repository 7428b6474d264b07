"""Values of tensors, where they are at hand, and what shows a wrong one where they are not."""

import keras
from keras import ops


def known_values(tensor):
    """The values of a tensor as a NumPy array, or None where they are not at hand.

    They are not in a compiled step; and on an accelerator PyTorch would wait for them.
    """
    if _is_open(keras.ops.convert_to_tensor(tensor)):
        return None
    return keras.ops.convert_to_numpy(tensor)


def refuse(found, message):
    """Raises ValueError if a bool tensor of rank 0 is known to be true.

    Args:
        found: The tensor.
        message: Text of the error.

    Returns:
        The tensor where its value is not known, for `marked`; else None.
    """
    values = known_values(found)
    if values is None:
        return found
    if values:
        raise ValueError(message)
    return None


def marked(values, *wrong):
    """`values`, or NaN in their place if something is wrong: a compiled step raises no error.

    The gradient by `values` stays as it is, so that weights are not lost with the step.

    Args:
        values: Float tensor.
        *wrong: What `refuse` gave.
    """
    for found in wrong:
        if found is not None:
            values = values + ops.cast(ops.where(found, float("nan"), 0.0), values.dtype)
    return values


def _is_open(tensor):
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return tensor.device.type != "cpu" or torch.compiler.is_compiling()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(tensor)
    import jax

    return isinstance(tensor, jax.core.Tracer)
