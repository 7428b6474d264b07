"""Outputs of members: computed in float64 and checked."""

import numpy as np


def member_outputs(model, x, width, batch_size=32):
    """Raw outputs of a member, float64 `(samples, width)`.

    Args:
        model: The member.
        x: Array `(samples, …)`.
        width: Number of outputs that it must have.
        batch_size: Samples at once. Defaults to 32.

    Raises:
        ValueError: If the outputs have another shape, or are not finite.
    """
    outputs = np.asarray(model.predict(x, batch_size=batch_size, verbose=0), "float64")
    if outputs.shape != (len(x), width):
        raise ValueError(
            f"A member must have outputs of the shape (samples, {width}); it has {outputs.shape}."
        )
    if not np.isfinite(outputs).all():
        raise ValueError(
            "A member has outputs that are not finite: its training diverged. Lower the learning "
            "rate in build."
        )
    return outputs


def check_probabilities(values):
    """Raise ValueError unless values are not negative and have the sum 1."""
    if values.min() < -1e-6 or abs(values.sum(-1) - 1).max() > 1e-2:
        raise ValueError(
            "The members' outputs must be probabilities, not negative and with the sum 1. End the "
            "model in a softmax, or pass from_logits=True."
        )


def softmax(scores):
    """Probabilities of float64 scores, along the last axis."""
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
