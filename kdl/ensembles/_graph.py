"""Parts of the functional Keras model of an ensemble."""

import keras
import numpy as np
from keras import ops

from kdl.graph import copy_model


def members(models, inputs, from_logits=False):
    """The outputs of copies of the members, of one input."""
    outputs = [
        copy_model(model, name=f"member_{number}")(inputs) for number, model in enumerate(models)
    ]
    return [ops.softmax(output, axis=-1) for output in outputs] if from_logits else outputs


def votes(outputs, classes):
    """1 at the first largest of each member's outputs, 0 elsewhere.

    In operations that TFLite has: Keras's `argmax` on TensorFlow is made of others.
    """
    so_far = np.triu(np.ones((classes, classes), "float32"))
    return [_first(ops.cast(x >= ops.max(x, -1, keepdims=True), x.dtype), so_far) for x in outputs]


def _first(ones, so_far):
    """The first 1 of each row alone."""
    return ones * ops.cast(ops.matmul(ones, so_far) < 1.5, ones.dtype)


def weighted_sum(tensors, weights):
    """`Σ w_m x_m`."""
    total = None
    for tensor, weight in zip(tensors, weights, strict=True):
        term = tensor * float(weight)
        total = term if total is None else total + term
    return total


def weighted_mean(tensors, weights=None):
    """`Σ w_m x_m / Σ w_m`."""
    if weights is None:
        return tensors[0] if len(tensors) == 1 else keras.layers.Average()(tensors)
    return weighted_sum(tensors, [weight / sum(weights) for weight in weights])
