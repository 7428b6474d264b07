import numpy as np
import pytest

from kdl.data import instance_targets

MAPS = [np.array([[0, 7, 7], [0, 7, 2]]), np.zeros((4, 5), "uint16")]


def test_objects_are_those_of_the_maps():
    targets = instance_targets(MAPS, label=3)
    assert targets["labels"].tolist() == [[3, 3], [-1, -1]]
    np.testing.assert_array_equal(targets["boxes"][0], [[2, 1, 3, 2], [1, 0, 3, 2]])
    assert (targets["boxes"][1] == -1).all()
    assert targets["area"].tolist() == [[1, 3], [-1, -1]]
    first, second = targets["masks"]
    np.testing.assert_array_equal(first, [MAPS[0] == 2, MAPS[0] == 7])
    assert second.shape == (0, 4, 5)


@pytest.mark.parametrize(
    ("maps", "message"),
    [([], "received none"), ([np.zeros((2, 2))], "float64"), ([MAPS[0][0]], r"shape \(3,\)")],
)
def test_what_is_no_map(maps, message):
    with pytest.raises(ValueError, match=message):
        instance_targets(maps)
