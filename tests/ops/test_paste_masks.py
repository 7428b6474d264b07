import json
import math

import keras
import numpy as np
import pytest

from kdl.ops import paste_masks
from kdl.testing import _checks
from kdl.testing._gradients import gradients

KEYS = {"torchvision": "pasted", "detectron2": "pasted_continuous"}


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_masks.npz"))
    return arrays, json.loads(bytes(arrays["meta"]).decode())


@pytest.mark.every_backend
@pytest.mark.parametrize("rule", KEYS)
def test_values_are_those_of_the_reference(rule, golden):
    arrays, meta = golden
    pasted = paste_masks(arrays["mask_probs"], arrays["boxes"], meta["image"], rule)
    expected = arrays[KEYS[rule]]
    assert np.abs(numpy(pasted) - expected).max() / expected.std() <= 5e-5
    assert ((numpy(pasted) >= 0.5) == (expected >= 0.5)).all()


def interpolated(mask, y, x):
    """Bilinear value between cells; what is outside of the mask is 0."""
    low = math.floor(y), math.floor(x)
    total = 0.0
    for row in (low[0], low[0] + 1):
        for column in (low[1], low[1] + 1):
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                total += mask[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def resized_into_integer_box(mask, box, size):
    """Torchvision's steps: pad, enlarge, cut to integers, resize with edges held, crop."""
    padded = np.pad(mask, 1)
    ends = []
    for axis in (0, 1):
        cells = mask.shape[1 - axis]
        center, half = (box[axis] + box[axis + 2]) / 2, (box[axis + 2] - box[axis]) / 2
        half *= (cells + 2) / cells
        ends.append((math.trunc(center - half), math.trunc(center + half)))
    image = np.zeros(size)
    for y in range(max(ends[1][0], 0), min(ends[1][1] + 1, size[0])):
        for x in range(max(ends[0][0], 0), min(ends[0][1] + 1, size[1])):
            place = []
            for pixel, axis in ((y, 1), (x, 0)):
                (first, last), cells = ends[axis], padded.shape[1 - axis]
                at = (pixel - first + 0.5) * cells / max(last - first + 1, 1) - 0.5
                place.append(min(max(at, 0), cells - 1))
            image[y, x] = interpolated(padded, *place)
    return image


def sampled_at_pixel_centers(mask, box, size):
    """Detectron2's grid: the mask is stretched over the box, and read at the middles of pixels."""
    image = np.zeros(size)
    for y in range(size[0]):
        for x in range(size[1]):
            down = (y + 0.5 - box[1]) / (box[3] - box[1]) * mask.shape[0] - 0.5
            across = (x + 0.5 - box[0]) / (box[2] - box[0]) * mask.shape[1] - 0.5
            image[y, x] = interpolated(mask, down, across)
    return image


BY_HAND = {"torchvision": resized_into_integer_box, "detectron2": sampled_at_pixel_centers}


@pytest.mark.parametrize("rule", BY_HAND)
def test_random_boxes_match_the_definition(rule):
    rng = np.random.default_rng(0)
    low = rng.uniform(-8, 14, (12, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.2, 20, (12, 2))], -1)
    masks = rng.random((12, 5, 3))
    pasted = numpy(paste_masks(masks, boxes, (15, 18), rule))
    for mask, box, image in zip(masks, boxes, pasted, strict=True):
        np.testing.assert_allclose(image, BY_HAND[rule](mask, box, (15, 18)), atol=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("rule", BY_HAND)
def test_gradient_by_masks_is_that_of_a_linear_map_and_boxes_have_none(rule):
    rng = np.random.default_rng(1)
    masks = rng.random((1, 3, 4, 4)).astype("float32")
    boxes = np.float32([[[1, 2, 7, 6], [-3, 0, 4, 4], [5, 5, 5, 9]]])
    _, [by_masks, by_boxes] = gradients(
        lambda x: paste_masks(x[0], x[1], (8, 9), rule), [], [masks, boxes]
    )
    other = rng.random(masks.shape).astype("float32")
    image = numpy(paste_masks(other, boxes, (8, 9), rule))
    expected = (image * _checks.random_array(image.shape, seed=1)).sum()
    assert (by_masks * other).sum() == pytest.approx(expected, rel=1e-4)
    assert by_boxes is None or not by_boxes.any()


class Pasting(keras.layers.Layer):
    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def call(self, masks, boxes):
        return paste_masks(masks, boxes, (10, 12), self.rule)


@pytest.mark.every_backend
@pytest.mark.parametrize("rule", BY_HAND)
def test_layer_of_a_compiled_model_with_leading_axes(rule):
    rng = np.random.default_rng(2)
    masks = rng.random((2, 3, 4, 5)).astype("float32")
    boxes = np.sort(rng.uniform(-2, 12, (2, 3, 2, 2)), 2).reshape(2, 3, 4).astype("float32")
    inputs = keras.Input((3, 4, 5)), keras.Input((3, 4))
    outputs = Pasting(rule)(*inputs)
    assert tuple(outputs.shape) == (None, 3, 10, 12)
    pasted = keras.Model(inputs, outputs).predict([masks, boxes], verbose=0)
    for image in range(2):
        alone = numpy(paste_masks(masks[image], boxes[image], (10, 12), rule))
        np.testing.assert_allclose(pasted[image], alone, atol=1e-5)


@pytest.mark.parametrize("rule", BY_HAND)
def test_boxes_that_are_no_numbers_and_padding_are_empty(rule):
    nan, inf = np.nan, np.inf
    boxes = [[nan, 0, 4, 4], [0, inf, 4, inf], [-inf, 0, inf, 4], [-1, -1, -1, -1], [9, 9, 4, 4]]
    pasted = numpy(paste_masks(np.ones((5, 3, 3)), np.float32(boxes), (6, 7), rule))
    assert (pasted == 0).all()


def test_box_without_a_side_is_a_pixel_wide_by_the_rule_of_torchvision_alone():
    box = np.float32([[2, 1, 2, 5]])
    pasted = numpy(paste_masks(np.ones((1, 4, 4)), box, (8, 6)))[0]
    assert pasted[:, 2].max() == 1
    assert not np.delete(pasted, 2, 1).any()
    assert not numpy(paste_masks(np.ones((1, 4, 4)), box, (8, 6), "detectron2")).any()


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("dtype", "result"), [("float16", "float16"), ("bfloat16", "bfloat16"), ("bool", "float32")]
)
def test_dtype_is_that_of_float_masks_and_computed_in_float32(dtype, result):
    masks = keras.ops.cast(np.random.default_rng(3).random((1, 4, 4)) > 0.4, dtype)
    box = np.float32([[0.3, 0.6, 6.2, 7.1]])
    pasted = paste_masks(masks, box, (8, 8))
    assert keras.backend.standardize_dtype(pasted.dtype) == result
    expected = paste_masks(keras.ops.cast(masks, "float32"), box, (8, 8))
    np.testing.assert_array_equal(numpy(pasted), numpy(keras.ops.cast(expected, result)))


def test_no_masks_give_no_images():
    assert paste_masks(np.ones((2, 0, 4, 4)), np.ones((2, 0, 4)), (5, 6)).shape == (2, 0, 5, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "size must be the height and width of the image; received 8"),
        ({"size": (8, 0)}, "size must be a positive integer; received 0"),
        ({"rule": "mmdet"}, "rule must be one of 'torchvision', 'detectron2'; received 'mmdet'"),
        ({"boxes": np.ones((3, 5))}, "boxes must have four numbers"),
        ({"boxes": np.ones((2, 4))}, r"masks \(…, N, h, w\) and boxes .* \(3, 4, 4\) and \(2, 4\)"),
        ({"masks": np.ones((4, 4))}, r"Expected masks \(…, N, h, w\)"),
        ({"masks": np.ones((3, 0, 4))}, "Masks must have a known height and width"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    given = {"masks": np.ones((3, 4, 4)), "boxes": np.ones((3, 4)), "size": (8, 8), **arguments}
    with pytest.raises(ValueError, match=message):
        paste_masks(**given)
