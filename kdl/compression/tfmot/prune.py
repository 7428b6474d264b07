"""Magnitude pruning by TF-MOT."""

from collections.abc import Sequence

import keras

from kdl._checks import check_choice
from kdl.compression.pruning.constant_sparsity import ConstantSparsity
from kdl.compression.pruning.polynomial_sparsity import PolynomialSparsity
from kdl.compression.pruning.sparsity_schedule import SparsitySchedule
from kdl.compression.tfmot.tfmot_model import TFMOTModel


def prune(
    model: keras.Model,
    schedule: SparsitySchedule,
    layers: Sequence[str] | None = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling: str = "avg",
    n_of_m: tuple[int, int] | None = None,
) -> TFMOTModel:
    """Prepares a Keras 3 model for TensorFlow Model Optimization's pruning of small weights.

    In `fit`, the weights of smallest magnitude of each kernel become zero, as many as the schedule
    says, and stay zero. Kernels of convolutions, transposed ones and dense layers are pruned, of
    separable convolutions the pointwise kernel, depthwise kernels not. `strip` gives the model.

    Args:
        model: A functional or Sequential model, built, in float32; its own weights are not touched.
        schedule: `kdl.compression.PolynomialSparsity` or `ConstantSparsity`. TF-MOT chooses the
            weights anew every `frequency` steps, and at `end_step` only if that is one of them.
        layers: Names of the layers to prune, as in `kdl.compression.flatten(model)`; all by
            default.
        block_size: Pair: kernels of dense layers lose blocks of this shape at once. Only with
            `layers` that are dense. Defaults to single weights.
        block_pooling: What a block is judged by: `"avg"` (default) or `"max"` magnitude.
        n_of_m: Pair `(n, m)`, as `(2, 4)`: of `m` weights that follow each other `n` stay,
            whatever the sparsity of the schedule; or None (default).

    Returns:
        `TFMOTModel`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional or not float32, or
            something in it has no counterpart in tf_keras; the message names it.

    Source: Zhu and Gupta (arXiv 1710.01878).

    Example:
        >>> import keras
        >>> from kdl.compression import ConstantSparsity
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> prune(model, ConstantSparsity(0.5)).method
        'prune'
    """
    check_choice("block_pooling", block_pooling, ("avg", "max"))
    settings = {
        "kind": "prune",
        "schedule": _their_schedule(schedule),
        "block_size": list(block_size),
        "block_pooling": block_pooling,
        "m_by_n": _zeros_by(n_of_m),
    }
    return TFMOTModel(model, settings, layers)


def _their_schedule(schedule):
    """Class and arguments of TF-MOT's schedule."""
    if isinstance(schedule, PolynomialSparsity):
        return {"kind": "PolynomialDecay", **schedule.get_config()}
    if isinstance(schedule, ConstantSparsity):
        return {
            "kind": "ConstantSparsity",
            "target_sparsity": schedule.sparsity,
            # TF-MOT counts its steps from 1.
            "begin_step": max(schedule.begin_step, 1),
            "end_step": max(schedule.end_step, 1),
            "frequency": 1,  # the one step between its ends
        }
    raise ValueError(
        f"schedule must be a ConstantSparsity or PolynomialSparsity; received {schedule!r}."
    )


def _zeros_by(n_of_m):
    """TF-MOT's pair: how many become zero, of how many."""
    if n_of_m is None:
        return None
    n, m = n_of_m
    if not 0 < n < m:
        raise ValueError(f"n_of_m must be a pair with 0 < n < m; received {n_of_m!r}.")
    return [m - n, m]
