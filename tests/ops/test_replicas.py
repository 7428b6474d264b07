import keras
import numpy as np
import pytest

from kdl.ops import batch_gather, batch_total, has_replicas
from kdl.ops.replicas import joined_moments, whole_batches

BACKEND = keras.backend.backend()


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def test_single_process_keeps_total_and_rows():
    x = keras.ops.convert_to_tensor(np.float32([[1, 2], [3, 4]]))
    assert not has_replicas()
    np.testing.assert_array_equal(to_numpy(batch_total(x)), to_numpy(x))
    rows, first = batch_gather(x)
    np.testing.assert_array_equal(to_numpy(rows), to_numpy(x))
    assert first == 0


def test_moments_of_parts_are_those_of_the_whole():
    """Parts of different sizes and means, one of them empty."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(1000 + size, 0.1, (size, 3)) for size in (5, 2, 1)]
    stacked = [[f(part) for part in parts] for f in (lambda p: p.mean(0), lambda p: p.var(0))]
    counts = [np.full(3, len(part)) for part in parts]
    arrays = [np.float32([*rows, np.zeros(3)]) for rows in (*stacked, counts)]
    mean, variance, count = map(to_numpy, joined_moments(*map(keras.ops.convert_to_tensor, arrays)))
    whole = np.concatenate(parts)
    np.testing.assert_allclose(mean, whole.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, whole.var(0), rtol=1e-4)
    np.testing.assert_array_equal(count, 8)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has replicas without others")
def test_whole_batches_have_no_replicas():
    import jax

    def totals(x):
        with whole_batches():
            own = batch_total(x, "device")
        return own, batch_total(x, "device")

    own, both = jax.vmap(totals, axis_name="device")(np.float32([1, 2]))
    assert (own.tolist(), both.tolist()) == ([1, 2], [3, 3])


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has replicas without others")
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_gathered_rows_come_in_order(dtype):
    import jax

    x = np.arange(12).reshape(2, 3, 2).astype(dtype)
    rows, first = jax.vmap(lambda part: batch_gather(part, "device"), axis_name="device")(x)
    np.testing.assert_array_equal(rows, [x.reshape(6, 2)] * 2)
    assert first.tolist() == [0, 3]
