"""TF-MOT's pruning."""

import dataclasses

from kdl.compression.tfmot.constant_sparsity import ConstantSparsity
from kdl.compression.tfmot.polynomial_decay import PolynomialDecay
from kdl.compression.tfmot.tfmot_model import TFMOTModel
from kdl.layers._block import check_choice

# Names that TF-MOT has for the fields that differ.
_THEIR_NAMES = {"sparsity": "target_sparsity"}


def prune(model, schedule, layers=None, block_size=(1, 1), block_pooling="avg", m_by_n=None):
    """Prepares a Keras 3 model for TensorFlow Model Optimization's pruning of small weights.

    In `fit`, the weights of smallest magnitude of each kernel become zero, as many as the schedule
    says, and stay zero. Kernels of convolutions, transposed ones and dense layers are pruned, of
    separable convolutions the pointwise kernel, depthwise kernels not. `strip` gives the model.

    Args:
        model: A functional or Sequential model, built, in float32; its own weights are not touched.
        schedule: `PolynomialDecay` or `ConstantSparsity`.
        layers: Names of the layers to prune, as in `kdl.compression.flatten(model)`; all by
            default.
        block_size: Pair: kernels of dense layers lose blocks of this shape at once. Only with
            `layers` that are dense. Defaults to single weights.
        block_pooling: What a block is judged by: `"avg"` (default) or `"max"` magnitude.
        m_by_n: Pair `(m, n)`: of `n` consecutive weights, `m` become zero, whatever the sparsity
            of the schedule; or None (default).

    Returns:
        `TFMOTModel`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional or not float32, or
            something in it has no twin in tf_keras; the message names it.

    Source: Zhu and Gupta (arXiv 1710.01878).

    Example:
        >>> import keras
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> prune(model, ConstantSparsity(0.5)).method
        'prune'
    """
    if not isinstance(schedule, ConstantSparsity | PolynomialDecay):
        raise ValueError(
            f"schedule must be a ConstantSparsity or PolynomialDecay; received {schedule!r}."
        )
    check_choice("block_pooling", block_pooling, ("avg", "max"))
    _check_m_by_n(m_by_n)
    fields = dataclasses.asdict(schedule)
    settings = {
        "kind": "prune",
        "schedule": {
            "kind": type(schedule).__name__,
            **{_THEIR_NAMES.get(key, key): value for key, value in fields.items()},
        },
        "block_size": list(block_size),
        "block_pooling": block_pooling,
        "m_by_n": None if m_by_n is None else list(m_by_n),
    }
    return TFMOTModel(model, settings, layers)


def _check_m_by_n(m_by_n):
    if m_by_n is not None and not 0 < m_by_n[0] < m_by_n[1]:
        raise ValueError(f"m_by_n must be a pair with 0 < m < n; received {m_by_n!r}.")
