"""AdaBoost for K classes (SAMME and SAMME.R) in plain NumPy and float64.

Weights of the samples have the sum 1; labels are the numbers of the classes.
"""

import numpy as np

LEAST = float(np.finfo("float64").eps)  # of a weight that is not 0, and of a probability


def samme_step(weights, wrong, classes, learning_rate=1.0):
    """Error, weight of a member and new weights of the samples, in SAMME.

    `e = Σ w·[wrong]`, `α = ν (ln((1 − e)/e) + ln(K − 1))`, `w ← w·exp(α·[wrong]) / Σ …`.

    Returns:
        `(e, α, weights)`. α is 1 for a member without errors and None for one that is no better
        than chance, `e ≥ 1 − 1/K`; the weights are None in both cases.
    """
    error = float(weights[wrong].sum() / weights.sum())
    if error <= 0:
        return 0.0, 1.0, None
    if error >= 1 - 1 / classes:
        return error, None, None
    alpha = float(learning_rate * (np.log((1 - error) / error) + np.log(classes - 1)))
    return error, alpha, _normalized(weights, alpha * wrong)


def samme_scores(labels, alphas, classes):
    """`Σ_m α_m·(1 if m predicts c, else −1/(K − 1)) / Σ_m α_m`, as `(samples, classes)`."""
    labels, alphas = np.asarray(labels), np.asarray(alphas, "float64")
    predicted = labels[..., None] == np.arange(classes)
    return np.average(np.where(predicted, 1.0, -1 / (classes - 1)), axis=0, weights=alphas)


def samme_r_step(weights, labels, probabilities, learning_rate=1.0):
    """Error of a member and new weights of the samples, in SAMME.R.

    `w ← w·exp(−ν (K − 1)/K Σ_c y_c ln p_c) / Σ …`, where `y_c` is 1 for the sample's class and
    `−1/(K − 1)` for the others.

    Returns:
        `(e, weights)`; the weights are None if the member makes no error.
    """
    error = float(weights[probabilities.argmax(-1) != labels].sum() / weights.sum())
    if error <= 0:
        return 0.0, None
    exponents = -learning_rate * samme_r_margin(labels, probabilities)
    return error, _normalized(weights, exponents)


def samme_r_margin(labels, probabilities):
    """`(K − 1)/K Σ_c y_c ln p_c` of each sample."""
    classes = probabilities.shape[-1]
    own = labels[:, None] == np.arange(classes)
    codes = np.where(own, 1.0, -1 / (classes - 1))
    return (classes - 1) / classes * (codes * _log(probabilities)).sum(-1)


def samme_r_scores(probabilities):
    """`h_c = (K − 1)(ln p_c − mean_k ln p_k)` of each member."""
    logarithms = _log(probabilities)
    classes = probabilities.shape[-1]
    return (classes - 1) * (logarithms - logarithms.mean(-1, keepdims=True))


def _normalized(weights, exponents):
    """`w·exp(exponents)` with the sum 1; by logarithms, so that nothing overflows."""
    positive = weights > 0
    logarithms = np.log(np.where(positive, weights, 1.0)) + exponents
    logarithms = np.where(positive, logarithms, -np.inf)
    new = np.exp(logarithms - logarithms.max())
    new /= new.sum()
    # A weight that was not 0 stays so: later members could never raise it again.
    return np.where(positive, np.maximum(new, LEAST), 0.0)


def _log(probabilities):
    return np.log(np.clip(probabilities, LEAST, None))
