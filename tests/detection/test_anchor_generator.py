import json

import keras
import numpy as np
import pytest

from kdl.detection import AnchorGenerator

RETINANET = [tuple(int(size * 2 ** (i / 3)) for i in range(3)) for size in (32, 64, 128, 256, 512)]
RPN = [(size,) for size in (32, 64, 128, 256, 512)]
MOBILENET = [(32, 64, 128, 256, 512)] * 3
GENERATORS = {
    name: AnchorGenerator(sizes)
    for name, sizes in (("retinanet", RETINANET), ("rpn", RPN), ("mobilenet", MOBILENET))
}


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_anchors.npz"))
    return arrays, {c["key"]: c for c in json.loads(bytes(arrays["meta"]).decode())["cases"]}


@pytest.mark.parametrize("fit", ["exact", "inexact"])
@pytest.mark.parametrize("name", GENERATORS)
def test_anchors_are_those_of_torchvision(name, fit, golden):
    arrays, cases = golden
    case = cases[f"{name}_{fit}"]
    anchors = GENERATORS[name](case["image"], case["grids"])
    assert anchors.dtype == np.float32
    np.testing.assert_array_equal(anchors, arrays[case["key"]])
    cells = np.prod(case["grids"], -1)
    assert len(anchors) == case["count"] == np.dot(cells, GENERATORS[name].per_cell)


def test_strides_and_exact_sides():
    generator = AnchorGenerator([(32,)], (0.5,), strides=(8,), rounded=False)
    anchors = generator((20, 20), [(1, 2)])
    expected = [[-22.627417, -11.313708, 22.627417, 11.313708]]
    np.testing.assert_allclose(anchors, expected + np.float32([[0] * 4, [8, 0, 8, 0]]), rtol=1e-6)


def test_config_is_kept():
    generator = AnchorGenerator([(32, 40), (64,)], strides=(8, 16), rounded=False)
    text = json.dumps(keras.saving.serialize_keras_object(generator))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    sizes = ((32, 64), [(4, 8), (2, 4)])
    np.testing.assert_array_equal(copy(*sizes), generator(*sizes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": []}, "must be positive, and some of each"),
        ({"sizes": [()]}, "must be positive, and some of each"),
        ({"sizes": [(-1,)]}, "must be positive, and some of each"),
        ({"sizes": [(32,)], "ratios": (0,)}, "must be positive, and some of each"),
        ({"sizes": [(32,)], "strides": (8, 16)}, "Expected 1 strides, one a level"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        AnchorGenerator(**arguments)


def test_grids_that_do_not_fit_raise():
    with pytest.raises(ValueError, match="Expected the grids of 1 levels; received 2"):
        AnchorGenerator([(32,)])((8, 8), [(1, 1), (1, 1)])
    with pytest.raises(ValueError, match=r"image_size: expected \(height, width\); received 8"):
        AnchorGenerator([(32,)])(8, [(1, 1)])


def test_anchors_of_any_size_stand_on_their_features():
    generator = AnchorGenerator([(16,)], ratios=(1.0,))
    centers = [generator.placed(size, [grid])[-1] for size, grid in (((40, 76), (2, 3)),)]
    assert centers[0].tolist() == [56.0, 24.0, 72.0, 40.0]  # around (64, 32): strides of 32
    even = generator.placed((64, 64), [(4, 4)])
    np.testing.assert_array_equal(even, generator((64, 64), [(4, 4)]))
