import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from kdl.ops import polygons_to_mask


def by_pycocotools(polygons, height, width):
    codes = coco.frPyObjects([list(map(float, polygon)) for polygon in polygons], height, width)
    return coco.decode(coco.merge(codes)).astype(bool)


def assert_equals_pycocotools(polygons, height, width):
    mask = polygons_to_mask(polygons, (height, width))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, by_pycocotools(polygons, height, width))
    return mask


@given(st.integers(0, 100_000), st.sampled_from([1, 0.2, 0.1, 0.01, 0]))
def test_random_polygons_match_pycocotools(seed, step):
    """Corners in and outside of the image, at whole, tenth and any places; lines cross."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    polygons = []
    for _ in range(rng.integers(1, 4)):
        corners = rng.uniform(-0.4, 1.4, (rng.integers(3, 9), 2)) * (width, height)
        polygons.append((np.round(corners / step) * step if step else corners).ravel().tolist())
    assert_equals_pycocotools(polygons, height, width)


def test_outline_of_a_circle_matches_pycocotools():
    angles = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    circle = np.stack([200 + 150 * np.cos(angles), 160 + 120 * np.sin(angles)], -1).ravel()
    mask = assert_equals_pycocotools([circle.tolist()], 300, 400)
    assert mask.sum() == pytest.approx(np.pi * 150 * 120, rel=2e-3)


def test_steep_and_flat_lines_far_outside_match_pycocotools():
    for points in (
        [-5000, -4000, 6000, 30, 20, 7000],
        [3, -90000, 17.3, 90000, 17.9, 90000],
        [-90000, 4.1, 90000, 9.3, 90000, 8.3],
        [5, 5, 5, 5, 5, 5],
        [2, 2, 9, 2, 2, 2],
        [0, 0, 0, 8, 0, 0, 8, 0, 8, 8],
    ):
        assert_equals_pycocotools([points], 20, 25)


def test_worked_rectangle_covers_pixels_whose_middles_it_holds():
    mask = polygons_to_mask([[0.6, 1, 3.4, 1, 3.4, 2.7, 0.6, 2.7]], (4, 5))
    assert mask.astype(int).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_polygons_are_joined_and_none_is_empty():
    square = [0, 0, 2, 0, 2, 2, 0, 2]
    assert polygons_to_mask([square, square], (3, 3)).sum() == 4  # not parted by each other
    assert not polygons_to_mask([], (3, 3)).any()
    assert polygons_to_mask([square], (0, 3)).shape == (0, 3)


def test_long_lines_take_no_more_memory_than_the_image():
    tracemalloc.start()
    polygons_to_mask([[-1e8, -1e8, 1e8, -9e7, 9e7, 1e8] * 10000], (100, 100))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("polygons", "size", "message"),
    [
        ([[0, 0, 4, 0]], (4, 4), "flat list .* of three corners or more"),
        ([[0, 0, 4, 0, 4, 4, 2]], (4, 4), "flat list"),
        ([[[0, 0], [4, 0], [4, 4]]], (4, 4), "flat list"),
        ([0, 0, 4, 0, 4, 4], (4, 4), "hold a list of such lists"),
        ([["a"] * 6], (4, 4), "flat list"),
        ([[0, 0, 4, 0, 4, np.nan]], (4, 4), "Coordinates must be finite, and 1e.08 at most"),
        ([[0, 0, 4, 0, 4, -1e9]], (4, 4), "received -1000000000.0"),
        ({"size": [4, 4], "counts": [16]}, (4, 4), "received dict. Run lengths go through"),
        (None, (4, 4), "received NoneType"),
        ([[0, 0, 4, 0, 4, 4]], (10**6, 10**6), "268435456 pixels at most"),
        ([[0, 0, 4, 0, 4, 4]], 4, r"size must be \[height, width\]; received 4"),
    ],
)
def test_broken_polygons_raise(polygons, size, message):
    with pytest.raises(ValueError, match=message):
        polygons_to_mask(polygons, size)
