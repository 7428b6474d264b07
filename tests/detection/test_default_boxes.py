import json

import keras
import numpy as np
import pytest

from kdl.detection import DefaultBoxes


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_anchors.npz"))
    return arrays, {c["key"]: c for c in json.loads(bytes(arrays["meta"]).decode())["cases"]}


@pytest.mark.parametrize(
    "key",
    ["ssd300_torchvision", "ssd300_voc", "ssd300_coco", "ssd512_voc", "ssd512_coco", "ssdlite320"],
)
def test_boxes_are_those_of_the_references(key, golden):
    arrays, cases = golden
    case = cases[key]
    generator = DefaultBoxes(
        case["scales"], case["ratios"], case["steps"], clip=case["clip_width_and_height_to_1"]
    )
    boxes = generator(case["image"], [(grid, grid) for grid in case["grids"]])
    assert boxes.dtype == np.float32
    assert len(boxes) == case["count"]
    assert sum(g * g * n for g, n in zip(case["grids"], generator.per_cell, strict=True)) == len(
        boxes
    )
    error = np.abs(boxes[:: case["every"]] - arrays[key]) / case["image"][0]
    assert error.max() <= 2e-6


def test_worked_numbers():
    """Of the first cells of SSD300 for VOC, as center and sides."""
    generator = DefaultBoxes((0.1, 0.2), [(2,)], strides=(8,))
    boxes = generator((300, 300), [(38, 38)])[:4] / 300
    center, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(center, 0.013333, atol=1e-6)
    expected = [(0.1, 0.1), (0.141421, 0.141421), (0.141421, 0.070711), (0.070711, 0.141421)]
    np.testing.assert_allclose(sides, expected, atol=1e-6)


def test_sides_follow_those_of_the_image():
    boxes = DefaultBoxes((0.5, 1.0), [()])((10, 40), [(1, 1)])
    np.testing.assert_allclose(boxes[0], [10, 2.5, 30, 7.5])


def test_config_is_kept():
    generator = DefaultBoxes((0.1, 0.2, 0.4), [(2,), (2, 3)], (8, 16), clip=True)
    text = json.dumps(keras.saving.serialize_keras_object(generator))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    sizes = ((32, 64), [(4, 8), (2, 4)])
    np.testing.assert_array_equal(copy(*sizes), generator(*sizes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": (0.1,), "ratios": []}, "a scale more than ratios"),
        ({"scales": (0.1, 0.2), "ratios": [(2,), (2,)]}, "a scale more than ratios"),
        ({"scales": (0.1, 0.2), "ratios": [(2,)], "strides": (8, 9)}, "as many strides as ratios"),
        ({"scales": (0.1, -0.2), "ratios": [(2,)]}, "must be positive"),
        ({"scales": (0.1, 0.2), "ratios": [(0,)]}, "must be positive"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        DefaultBoxes(**arguments)
