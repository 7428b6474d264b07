"""Gradient boosting in plain NumPy and float64: residuals and line search."""

import numpy as np

from kdl.ensembles._member_outputs import softmax

_MAX_STEP = 16.0  # where the loss falls without end
_HALVINGS = 40
_LEAST = 1e-150


def first_scores(targets, weights, task):
    """The constant that fits best: the mean, or the logarithms of the classes' shares."""
    mean = np.average(targets, axis=0, weights=weights)
    return mean if task == "regression" else np.log(mean)


def residuals(targets, scores, task):
    """Negative gradient of the loss: `y − F`, or `onehot − softmax(F)`."""
    return targets - (scores if task == "regression" else softmax(scores))


def best_step(targets, scores, direction, weights, task):
    """The γ ≥ 0 with the least loss of `F + γ f`; 0 where f leads nowhere.

    For squared loss `γ = Σ w r·f / Σ w f·f`. The cross-entropy is convex along f: halving finds
    where its slope `−Σ w f·(y − softmax(F + γ f))` is 0.
    """
    weights = np.ones(len(targets)) if weights is None else weights

    def slope(step):
        left = residuals(targets, scores + step * direction, task)
        return -(weights[:, None] * direction * left).sum()

    # The squares of numbers below _LEAST underflow.
    if abs(direction).max() < _LEAST or slope(0.0) >= 0:
        return 0.0
    if task == "regression":
        return float(-slope(0.0) / (weights[:, None] * direction**2).sum())
    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
        if high > _MAX_STEP:
            return _MAX_STEP
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2
