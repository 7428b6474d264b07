import keras
import numpy as np
import pytest

from kdl.ops import resize_align_corners


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (5, 7), (14, 4)])
def test_equals_torch(size):
    import torch

    x = np.random.default_rng(0).standard_normal((2, 5, 7, 3)).astype("float32")
    expected = torch.nn.functional.interpolate(
        torch.tensor(x.transpose(0, 3, 1, 2)), size, mode="bilinear", align_corners=True
    )
    results = to_numpy(resize_align_corners(x, size))
    np.testing.assert_allclose(results, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    first = to_numpy(resize_align_corners(x.transpose(0, 3, 1, 2), size, "channels_first"))
    np.testing.assert_allclose(first, expected.numpy(), atol=1e-5)


def test_same_size_changes_nothing():
    x = np.random.default_rng(0).standard_normal((1, 5, 7, 3)).astype("float32")
    np.testing.assert_allclose(to_numpy(resize_align_corners(x, (5, 7))), x, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [((4, 4), (2, 2), "rank 4"), ((1, 4, 4, 1), (0, 2), "positive"), ((1, 4, 4, 1), (2,), "two")],
)
def test_bad_input(shape, size, message):
    with pytest.raises(ValueError, match=message):
        resize_align_corners(np.zeros(shape, "float32"), size)


def test_dynamic_size_raises():
    with pytest.raises(ValueError, match="known height and width"):
        resize_align_corners(keras.Input((None, None, 3)), (4, 4))


def test_integer_images_raise():
    with pytest.raises(ValueError, match=r"needs float images; received uint8. Cast them"):
        resize_align_corners(np.zeros((1, 3, 3, 1), "uint8"), (5, 5))
