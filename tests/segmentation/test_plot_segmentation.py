import numpy as np
import pytest
from PIL import Image

from kdl.segmentation import plot_segmentation
from kdl.segmentation.plot_segmentation import _palette

IMAGES = np.zeros((5, 6, 8, 3), "float32")
LABELS = np.tile(np.arange(8) // 3, (5, 6, 1))


def test_label_maps_are_drawn_in_their_colors_and_unknown_is_black(tmp_path):
    colors = ["#ff0000", "#00ff00"]
    plot_segmentation(IMAGES + 1, {"truth": LABELS}, tmp_path / "x.png", 2, colors=colors)
    with Image.open(tmp_path / "x.png") as image:
        seen = set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 0)} <= seen


def test_as_many_rows_as_wanted_and_there(tmp_path):
    for count, images, height in ((2, 5, 380), (9, 3, 570)):
        path = tmp_path / f"{count}.png"
        plot_segmentation(IMAGES[:images], {"$a^$": LABELS[:images]}, path, 3, count)
        with Image.open(path) as image:
            assert image.size[1] == height


def test_colors_repeat_where_none_are_given():
    palette = _palette(12, None)
    assert palette.shape == (13, 3)
    np.testing.assert_array_equal(palette[0], palette[10])


def test_errors(tmp_path):
    with pytest.raises(ValueError, match=r"'truth' of shape \(5, 6, 8\)"):
        plot_segmentation(IMAGES, {"truth": LABELS[:4]}, tmp_path / "x.png", 3)
    with pytest.raises(ValueError, match="a color for each of 3 classes; received 1"):
        plot_segmentation(IMAGES, {"truth": LABELS}, tmp_path / "x.png", 3, colors=["red"])
