"""Ensembles as one functional Keras model."""

import keras
from keras import ops


def members(models, inputs, from_logits=False):
    """The outputs of copies of the members, of one input."""
    outputs = [copy(model, f"member_{number}")(inputs) for number, model in enumerate(models)]
    return [ops.softmax(each, axis=-1) for each in outputs] if from_logits else outputs


def votes(outputs, classes):
    """1 at the largest of each member's outputs."""
    return [ops.one_hot(ops.argmax(each, axis=-1), classes) for each in outputs]


def copy(model, name):
    """A model of another name with the same weights."""
    new = type(model).from_config({**model.get_config(), "name": name})
    new.set_weights(model.get_weights())
    return new


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
