"""Combination of members' outputs in plain NumPy and float64.

Probabilities of members are arrays `(members, samples, classes)`.
"""

import numpy as np

from kdl._warn import warn

TINY = np.finfo("float64").tiny


def mean(outputs, weights=None):
    """`Σ_m w_m p_m / Σ_m w_m`."""
    return np.average(outputs, axis=0, weights=weights)


def vote(probabilities, weights=None):
    """Share of the (weighted) votes of each class; a member votes for its first largest output."""
    classes = np.arange(probabilities.shape[-1])
    votes = probabilities.argmax(-1)[..., None] == classes
    return mean(votes.astype("float64"), weights)


def entropy(probabilities):
    """`−Σ_c p_c ln p_c`, where 0 ln 0 = 0."""
    return -(probabilities * np.log(np.maximum(probabilities, TINY))).sum(-1)


def uncertainty(probabilities, weights=None):
    """Entropy of the mean, mean of the entropies, and what lies between: mutual information."""
    predictive = entropy(mean(probabilities, weights))
    expected = mean(entropy(probabilities), weights)
    return {
        "predictive_entropy": predictive,
        "mean_entropy": expected,
        "mutual_information": np.maximum(predictive - expected, 0.0),
    }


def out_of_bag(outputs, rows, count):
    """Mean of the outputs of the members that did not train on a sample.

    Args:
        outputs: A member's outputs `(its rows, outputs)`, for each member.
        rows: Numbers of the samples that the member was not trained on, for each member.
        count: Number of samples.

    Returns:
        `(samples, outputs)`, rows of NaN where every member trained on the sample; with a warning.
    """
    sums, counts = np.zeros((count, outputs[0].shape[-1])), np.zeros((count, 1))
    for output, outside in zip(outputs, rows, strict=True):
        sums[outside] += output
        counts[outside] += 1
    if not counts.all():
        warn(
            f"{np.count_nonzero(counts == 0)} samples are in the training set of every member and "
            f"have no out-of-bag prediction: train more members."
        )
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
