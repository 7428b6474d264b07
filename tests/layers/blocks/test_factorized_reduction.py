import keras
import numpy as np
import pytest

from kdl.layers.blocks.factorized_reduction import FactorizedReduction
from kdl.testing import run_layer_test


def reference(layer, x):
    """The formula, with zeros beyond the last row and column."""
    kernels = [keras.ops.convert_to_numpy(p[-1].kernel)[0, 0] for p in (layer.path1, layer.path2)]
    rows, columns = (-(-n // 2) for n in x.shape[1:3])
    padded = np.pad(x, ((0, 0), (0, 2), (0, 2), (0, 0)))
    shifted = padded[:, 1 : 2 * rows : 2, 1 : 2 * columns : 2]
    y = np.concatenate([x[:, ::2, ::2] @ kernels[0], shifted @ kernels[1]], -1)
    bn = layer.norm
    gamma, beta, mean, variance = (keras.ops.convert_to_numpy(w) for w in bn.weights)
    return (y - mean) / np.sqrt(variance + bn.epsilon) * gamma + beta


@pytest.mark.parametrize(("filters", "size"), [(4, (6, 5)), (3, (3, 2))])
def test_layer(filters, size):
    run_layer_test(
        FactorizedReduction,
        {"filters": filters},
        (4, *size, 2),
        expected_output_shape=(4, -(-size[0] // 2), -(-size[1] // 2), filters),
        reference=reference,
    )


@pytest.mark.parametrize(
    ("filters", "message"), [(1, "at least 2"), (2.0, "positive integer; received 2.0")]
)
def test_bad_arguments_raise(filters, message):
    with pytest.raises(ValueError, match=message):
        FactorizedReduction(filters)
