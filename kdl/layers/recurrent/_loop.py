"""The loop over time, in each backend's own form.

`keras.ops.scan` would do on JAX. On TensorFlow it stacks every state of every step, and on PyTorch
it takes each step's slice alone, whose gradient is as large as the whole sequence.
"""

import keras
from keras import ops


def run_steps(step, inputs, states, collect, unroll):
    """Calls `states = step(inputs of one time, states)` from the first time to the last.

    Args:
        step: Function of a list of tensors and a tuple of states; gives a tuple of states.
        inputs: List of tensors `(time, batch, …)`.
        states: Tuple of the states before the first step.
        collect: Whether the first state after each step is wanted.
        unroll: Whether to write all steps into the graph.

    Returns:
        `(collected, states)`: a tensor `(time, batch, …)` or None, and the last states.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow" and not unroll:
        return _tensorflow_loop(step, inputs, states, collect)
    if backend == "jax" and not unroll:
        return _jax_loop(step, inputs, states, collect)
    return _python_loop(step, inputs, states, collect)


def _python_loop(step, inputs, states, collect):
    collected = []
    for current in zip(*map(ops.unstack, inputs), strict=True):
        states = step(current, states)
        if collect:
            collected.append(states[0])
    return ops.stack(collected) if collect else None, states


def _jax_loop(step, inputs, states, collect):
    import jax

    def body(states, current):
        states = step(current, states)
        return states, states[0] if collect else None

    states, collected = jax.lax.scan(body, states, inputs)
    return collected, states


def _tensorflow_loop(step, inputs, states, collect):
    import tensorflow as tf

    length = inputs[0].shape[0]
    length = tf.shape(inputs[0])[0] if length is None else length
    rows = [tf.TensorArray(x.dtype, size=length).unstack(x) for x in inputs]
    shape = (None, states[0].shape[-1])
    # No array where nothing is collected: XLA has no gradient for one.
    arrays = [tf.TensorArray(states[0].dtype, length, element_shape=shape)] if collect else []

    def body(time, states, arrays):
        states = step([row.read(time) for row in rows], states)
        return time + 1, states, [array.write(time, states[0]) for array in arrays]

    _, states, arrays = tf.while_loop(
        lambda time, *_: time < length,
        body,
        (tf.constant(0), states, arrays),
        maximum_iterations=length,
        parallel_iterations=32,
        swap_memory=True,
    )
    return arrays[0].stack() if collect else None, states
