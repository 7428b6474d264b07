import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from kdl.data import digits


def test_shapes_dtypes_and_range():
    (x_train, y_train), (x_test, y_test) = digits()
    assert x_train.shape == (1437, 32, 32, 3)
    assert x_test.shape == (360, 32, 32, 3)
    assert (y_train.shape, y_test.shape) == ((1437,), (360,))
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert (x_train.min(), x_train.max()) == (0.0, 1.0)


def test_size_8_is_the_source_divided_by_16():
    (x_train, y_train), (x_test, y_test) = digits(size=8, channels=1)
    ours = [(label, image.tobytes()) for label, image in zip(y_train, x_train, strict=True)]
    ours += [(label, image.tobytes()) for label, image in zip(y_test, x_test, strict=True)]
    source = load_digits()
    images = (source.images / 16).astype("float32")
    theirs = [(t, i.tobytes()) for t, i in zip(source.target, images, strict=True)]
    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("size", [9, 16, 21, 32])
def test_enlarges_as_pillow_does(size):
    source = digits(size=8, channels=1)[1][0][:20, :, :, 0]
    enlarged = digits(size=size, channels=1)[1][0][:20, :, :, 0]
    for small, large in zip(source, enlarged, strict=True):
        expected = Image.fromarray(small).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(large, expected, atol=1e-6)


def test_worked_row():
    source = digits(size=8, channels=1)[0][0][0, :, :, 0]
    enlarged = digits(size=16, channels=1)[0][0][0, :, :, 0]
    # Twice the size: the corner is kept, every other pixel mixes two of the source 3 : 1.
    assert enlarged[0, 0] == source[0, 0]
    top = 0.75 * source[3] + 0.25 * source[4]
    assert enlarged[7, 8] == pytest.approx(0.25 * top[3] + 0.75 * top[4])


def test_color_repeats_grey():
    gray, color = digits(size=10, channels=1)[1][0], digits(size=10)[1][0]
    np.testing.assert_array_equal(color, np.concatenate([gray] * 3, axis=-1))


def test_split_is_stratified_and_fixed():
    (x_train, y_train), (_, y_test) = digits(size=8)
    share = np.bincount(y_test) / (np.bincount(y_train) + np.bincount(y_test))
    np.testing.assert_allclose(share, 0.2, atol=0.004)
    np.testing.assert_array_equal(x_train, digits(size=8)[0][0])
    # The first labels, written down once: models shipped with the package rely on this split.
    assert y_test[:10].tolist() == [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]


@pytest.mark.parametrize("size", [7, 0, 8.0, True, "32"])
def test_refuses_size(size):
    with pytest.raises(ValueError, match="size must be an integer of at least 8"):
        digits(size=size)


def test_refuses_channels():
    with pytest.raises(ValueError, match="channels must be 1 or 3; received 2"):
        digits(channels=2)


def test_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        digits()


def test_a_pair_of_sizes_is_height_and_width():
    (wide, _), _ = digits(size=(12, 20), channels=1)
    (small, _), _ = digits(size=12, channels=1)
    (large, _), _ = digits(size=20, channels=1)
    assert wide.shape == (1437, 12, 20, 1)
    # Rows and columns are enlarged apart, so what is constant along a side has the other's values.
    np.testing.assert_allclose(wide[:, :, 0], small[:, :, 0], atol=1e-6)
    np.testing.assert_allclose(wide[:, 0], large[:, 0], atol=1e-6)
    with pytest.raises(ValueError, match="size must be an integer of at least 8; received 7"):
        digits(size=(12, 7))
