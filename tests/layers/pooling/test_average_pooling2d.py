import keras
import numpy as np
import pytest

from kdl.layers.pooling.average_pooling2d import AveragePooling2D
from kdl.testing import run_layer_test


def reference(layer, x):
    """Each window's mean over the pixels that are there."""
    (k, _), (s, _) = layer.pool_size, layer.strides
    same = layer.padding == "same"
    starts = []
    for n in x.shape[1:3]:
        count = -(-n // s) if same else (n - k) // s + 1
        before = max((count - 1) * s + k - n, 0) // 2 if same else 0
        starts.append([i * s - before for i in range(count)])
    rows = [
        [x[:, max(i, 0) : i + k, max(j, 0) : j + k].mean((1, 2)) for j in starts[1]]
        for i in starts[0]
    ]
    return np.stack([np.stack(row, 1) for row in rows], 1)


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"pool_size": 3, "strides": 2, "padding": "same"}, (6, 5)),  # uneven padding in one axis
        ({"pool_size": 3, "strides": 1, "padding": "same"}, (4, 4)),
        ({"pool_size": 2}, (5, 6)),
    ],
)
def test_layer(arguments, size):
    assert issubclass(AveragePooling2D, keras.layers.AveragePooling2D)
    run_layer_test(AveragePooling2D, arguments, (2, *size, 3), reference=reference)
