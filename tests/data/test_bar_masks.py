import numpy as np
import pytest

from kdl.data import bar_masks
from kdl.data.bar_masks import BAR_CLASSES

RED, BLUE = (1, -1, -1), (-1, -1, 1)


def test_the_colored_end_tells_the_class_of_a_bar():
    images, labels = bar_masks(8, bars=2)
    seen = set()
    for image, label in zip(images, labels, strict=True):
        for first, x, y in ((1, image, label), (3, image.swapaxes(0, 1), label.T)):
            for start in range(0, len(x), 8):
                classes = set(y[start].tolist()) & {first, first + 1}
                if not classes:
                    continue
                [own] = classes
                seen.add(own)
                color = (RED, BLUE)[own - first]
                ends = x[start : start + 4, :8], x[start : start + 4, -8:]
                shares = [(end == color).all(-1).mean() for end in ends]
                # Columns are drawn over rows, and may cut an end.
                assert max(shares) >= 0.5
    assert seen == {1, 2, 3, 4}


def test_crossings_are_unknown_and_the_rest_counts():
    _, labels = bar_masks(3, height=32, width=48, bars=2)
    for label in labels:
        assert (label == len(BAR_CLASSES)).sum() == 2 * 2 * 4 * 4
        assert (label > 0).sum() == 2 * 4 * 48 + 2 * 4 * 32 - 2 * 2 * 4 * 4


def test_images_follow_from_the_seed():
    one, again = (bar_masks(2)[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, bar_masks(2, seed=1)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 60}, "height must be a multiple of 8"),
        ({"width": 0}, "width"),
        ({"bars": 9}, "bars"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        bar_masks(**{"count": 1, **arguments})
