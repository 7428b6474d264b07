import numpy as np
import pytest

from kdl.data._fitting import fit, resize_image, resize_masks


def scene(height, width, dtype="uint8"):
    """A bright box in the dark, and what is true of it."""
    image = np.zeros((height, width, 3), dtype)
    image[4:12, 8:20] = 200 if dtype == "uint8" else 0.8
    truth = {
        "boxes": np.array([[8, 4, 20, 12]], "float32"),
        "labels": np.array([3]),
        "visible_boxes": np.array([[-1, -1, -1, -1]], "float32"),
        "area": np.array([96], "float32"),
        "masks": (image[None, ..., 0] > 0),
    }
    return image, truth


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(24, 80), (12, 20)])
def test_boxes_and_masks_go_with_the_image(size, dtype):
    image, truth = scene(24, 40, dtype)
    found, moved = fit(image, truth, size)
    assert (found.shape, found.dtype) == ((*size, 3), image.dtype)
    x, y = size[1] / 40, size[0] / 24
    np.testing.assert_allclose(moved["boxes"][0], [8 * x, 4 * y, 20 * x, 12 * y])
    left, top, right, bottom = moved["boxes"][0].astype(int)
    inside = np.zeros(size, bool)
    inside[top:bottom, left:right] = True
    np.testing.assert_array_equal(moved["masks"][0], inside)
    assert ((found[..., 0] > found.max() / 2) == inside).all()
    np.testing.assert_array_equal(moved["visible_boxes"], truth["visible_boxes"])
    assert moved["area"] == pytest.approx(96 * x * y)
    assert truth["boxes"].tolist() == [[8, 4, 20, 12]]


def test_letterboxed_image_keeps_its_ratio():
    image, truth = scene(24, 40)
    found, moved = fit(image, truth, (20, 20), letterbox=True, fill=7)
    np.testing.assert_allclose(moved["boxes"][0], [4, 2, 10, 6])
    assert (found[12:] == 7).all()
    assert moved["masks"].shape == (1, 20, 20)
    assert moved["masks"].sum() == 4 * 6
    same, _ = fit(image, truth, (24, 50), letterbox=True)
    np.testing.assert_array_equal(same[:, :40], image)


def test_one_channel_and_other_dtypes():
    gray = np.full((4, 6, 1), 0.25, "float64")
    resized = resize_image(gray, (8, 3))
    assert (resized.shape, resized.dtype) == ((8, 3, 1), np.float64)
    np.testing.assert_allclose(resized, 0.25)
    with pytest.raises(ValueError, match="received int64"):
        resize_image(gray.astype("int64"), (2, 2))


def test_masks_are_resized_by_the_nearest_pixel():
    masks = np.eye(4, dtype=bool)[None]
    np.testing.assert_array_equal(
        resize_masks(masks, (8, 8))[0], np.eye(4).repeat(2, 0).repeat(2, 1)
    )
    np.testing.assert_array_equal(resize_masks(masks, (2, 2))[0], np.eye(2))
