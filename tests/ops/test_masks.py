import json

import keras
import numpy as np
import pytest
from pycocotools import mask as coco

from kdl.ops import mask_iou, mask_to_boxes
from kdl.ops import masks as module


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_masks.npz"))
    arrays["masks"] = np.unpackbits(arrays["truth_masks"], axis=-1, count=96)
    return arrays, json.loads(bytes(arrays["meta"]).decode())


def test_overlaps_are_those_of_the_reference(golden):
    arrays, _ = golden
    masks = arrays["masks"]
    np.testing.assert_allclose(mask_iou(masks, masks), arrays["mask_iou"], rtol=1e-7)
    crowd = mask_iou(masks, masks, np.ones(3))
    np.testing.assert_allclose(crowd, arrays["mask_iou_crowd"], rtol=1e-7)


def random_masks(seed, count, size=(13, 17)):
    rng = np.random.default_rng(seed)
    return rng.random((count, *size)) < rng.uniform(0, 1, (count, 1, 1)).round(1)


def codes(masks):
    return coco.encode(np.asfortranarray(np.moveaxis(masks, 0, -1), "uint8"))


@pytest.mark.parametrize("at_a_time", [1 << 24, 100])
def test_random_overlaps_match_pycocotools(at_a_time, monkeypatch):
    monkeypatch.setattr(module, "_AT_A_TIME", at_a_time)
    masks, others = random_masks(0, 9), random_masks(1, 7)
    masks[0] = others[0] = False
    crowd = np.arange(7) % 3 == 0
    expected = coco.iou(codes(masks), codes(others), crowd.astype(int).tolist())
    np.testing.assert_array_equal(mask_iou(masks, others, crowd), expected)


def test_boxes_match_pycocotools_and_have_leading_axes():
    masks = random_masks(2, 6) & random_masks(3, 6) & (np.random.default_rng(4).random(17) < 0.3)
    masks[0] = False
    boxes = mask_to_boxes(masks.reshape(2, 3, 13, 17))
    assert boxes.shape == (2, 3, 4)
    assert boxes.dtype == "float32"
    expected = coco.toBbox(codes(masks))
    expected[:, 2:] += expected[:, :2]
    np.testing.assert_array_equal(boxes.reshape(6, 4), expected)


def test_tensors_of_the_backend_are_taken():
    masks = random_masks(5, 2)
    tensor = keras.ops.convert_to_tensor(masks)
    np.testing.assert_array_equal(mask_to_boxes(tensor), mask_to_boxes(masks))
    np.testing.assert_array_equal(mask_iou(tensor, tensor), mask_iou(masks, masks))


def test_no_masks_and_no_pixels():
    assert mask_iou(np.ones((0, 2, 2)), np.ones((3, 2, 2))).shape == (0, 3)
    assert mask_iou(np.ones((2, 0, 2)), np.ones((3, 0, 2))).tolist() == [[0] * 3] * 2
    assert mask_to_boxes(np.ones((0, 2, 2))).shape == (0, 4)
    assert mask_to_boxes(np.ones((2, 0, 3))).tolist() == [[0] * 4] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 2)), np.ones((1, 2, 2))), r"masks must have the shape \(N, height, width\)"),
        ((np.ones((1, 2, 2)), np.ones((1, 2, 3))), "masks and others must be of one height"),
        ((np.ones((1, 2, 2)), np.ones((1, 2, 2)), [0, 1]), "a truth value for each of 1 others"),
        ((np.ones((1, 2, 2)), np.full((1, 2, 2), 2)), "others must hold 0 and 1; received 2"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        mask_iou(*arguments)


def test_box_of_a_row_raises():
    with pytest.raises(ValueError, match=r"masks must have the shape \(…, height, width\)"):
        mask_to_boxes(np.ones(3))
