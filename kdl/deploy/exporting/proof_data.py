"""Enough data for ranges and for a proof, and other data for the one than for the other."""

import itertools

import numpy as np

# What serves for both is parted from this number of samples on.
_TO_PART = 100
_LEAST_RANGES = 20
_LEAST_PROOF = 50
# The share of samples that served for the ranges, too, from which on it is told.
_MUCH = 0.2


def part(samples):
    """Parts samples into those for the ranges and those for the proof.

    From 100 samples on one in five, and 50 at least, at even distances, is kept for the proof.
    Fewer serve for both.

    Args:
        samples: `kdl.data.Samples`, or anything else of that length.

    Returns:
        Pair of boolean arrays `(samples,)`: which ones are for the ranges, and which for the proof.
    """
    count = len(samples)
    if count < _TO_PART:
        return np.ones(count, bool), np.ones(count, bool)
    kept = max(_LEAST_PROOF, count // 5)
    proof = np.zeros(count, bool)
    proof[np.linspace(0, count - 1, kept).round().astype(int)] = True
    return ~proof, proof


def weaknesses(ranges, proof):
    """Reasons why the proof of an int8 file is weak, in words, as a list.

    Args:
        ranges: `Samples` that the ranges of the activations were measured on; None if they are
            known.
        proof: `Samples` that the file is compared on.
    """
    found = []
    known = set() if ranges is None else _digests(ranges)
    different = _digests(proof)
    if ranges is not None and len(known) < _LEAST_RANGES:
        found.append(
            f"the ranges are measured on {_count(known)} ({_LEAST_RANGES} at least are usual)"
        )
    if len(different) < _LEAST_PROOF:
        found.append(
            f"the file is compared on {_count(different)} ({_LEAST_PROOF} at least are usual)"
        )
    shared = len(different & known) / len(different)
    if shared == 1:
        found.append("the ranges were measured on the same inputs: pass other verification_data")
    elif shared >= _MUCH:
        found.append(
            f"the ranges were measured on {shared:.0%} of the inputs: pass other verification_data"
        )
    return found


def blind_spots(inputs):
    """Faults that the samples of several inputs cannot show, in words, as a list.

    Args:
        inputs: Dict: name of an input → array `(samples, …)` on which the file is compared.
    """
    if len(inputs) == 1 or any(len(x) == 1 for x in inputs.values()):
        return []
    same = [name for name, x in inputs.items() if (x == x[:1]).all()]
    found = [f"the input {name} is the same in all samples" for name in same]
    pairs = itertools.combinations([name for name in inputs if name not in same], 2)
    return found + [
        f"the inputs {one} and {other} are alike in all samples"
        for one, other in pairs
        if np.array_equal(inputs[one], inputs[other])
    ]


def _digests(samples):
    return {
        hash(b"".join(np.ascontiguousarray(part).tobytes() for part in sample))
        for sample in zip(*samples.arrays, strict=True)
    }


def _count(digests):
    return "1 input" if len(digests) == 1 else f"{len(digests)} different inputs"
