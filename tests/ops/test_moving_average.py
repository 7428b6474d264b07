import gc
import weakref

import keras
import numpy as np
import pytest

from kdl.ops.moving_average import averaged_normalize, mean_over


def test_means():
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype("float32")
    for synchronized in (False, True):
        results, count = mean_over(keras.ops.convert_to_tensor(x), [0, 1], synchronized)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(results), x.mean((0, 1)), atol=1e-6)
        assert float(count) == 6


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's graph is of objects")
def test_a_step_leaves_nothing_behind():
    """Objects that hold each other stay until Python looks for such: gigabytes of batches."""
    import torch

    x = torch.ones(4, 3, requires_grad=True)
    ring = torch.zeros(2, 3, requires_grad=True)
    rest = torch.ones(1, 3), ring, torch.ones(2, 1), torch.ones(())
    gc.disable()
    try:
        z = averaged_normalize(x, *rest, axes=[0])
        z.sum().backward()
        left = weakref.ref(z)
        del z
        assert left() is None
    finally:
        gc.enable()
    assert ring.grad is not None
