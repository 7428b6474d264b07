"""Sparsity measurement."""

import keras
import numpy as np
from keras import ops

from kdl.compression.pruning._kernels import find_kernels
from kdl.compression.pruning.sparsity_report import LayerSparsity, SparsityReport
from kdl.graph.wrapper import ModelWrapper, network_of


def measure_sparsity(model: keras.Model | ModelWrapper) -> SparsityReport:
    """Counts the zeros of all convolutions and dense layers of a model, pruned or not.

    Args:
        model: A functional or Sequential model, built, or one that `prune`, `distill` or
            `tfmot` made around it.

    Returns:
        `SparsityReport`: print it, or draw it with its `plot`.

    Raises:
        ValueError: If the model is not functional.

    Example:
        >>> import keras
        >>> from kdl.compression import ConstantSparsity, prune
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
        >>> print(measure_sparsity(prune(model, ConstantSparsity(0.5))))
        dense (4×2): 50.0% of 8 weights are zero
        in total: 50.0% of 8 weights are zero
    """
    rows = []
    for kernel in find_kernels(network_of(model)):
        values = ops.convert_to_numpy(kernel.variable)
        zeros = int(values.size - np.count_nonzero(values))
        rows.append(LayerSparsity(kernel.name, tuple(values.shape), zeros, values.size))
    return SparsityReport(rows)
