"""Values of tensors, where they are at hand."""

import keras


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
    """
    values = known_values(found)
    if values is not None and values:
        raise ValueError(message)


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
