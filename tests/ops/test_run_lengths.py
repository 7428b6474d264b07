import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutation import mutations
from pycocotools import mask as coco

from kdl.ops import decode_rle, encode_rle, mask_to_boxes


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_masks.npz"))
    meta = json.loads(bytes(arrays["meta"]).decode())
    return np.unpackbits(arrays["truth_masks"], axis=-1, count=96), meta


def test_run_lengths_are_those_of_the_reference(golden):
    masks, meta = golden
    masks = [*masks, np.zeros((5, 4)), np.ones((5, 4)), np.eye(6)]
    for mask, case in zip(masks, meta["run_lengths"], strict=True):
        size = case["size"]
        assert encode_rle(mask, compress=False) == {"size": size, "counts": case["counts"]}
        assert encode_rle(mask) == {"size": size, "counts": case["compressed"]}
        assert mask.sum() == case["area"]
        x, y, width, height = case["bbox"]
        assert mask_to_boxes(mask).tolist() == [x, y, x + width, y + height]
        for counts in (case["counts"], case["compressed"], case["compressed"].encode()):
            np.testing.assert_array_equal(decode_rle({"size": size, "counts": counts}), mask)


def smooth_mask(rng, height, width):
    """Few long runs, or many short ones."""
    noise = rng.random((height, width))
    return (noise if rng.random() < 0.3 else np.sort(noise, 0)) < rng.random()


@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 70))
def test_text_of_random_masks_is_that_of_pycocotools(seed, height, width):
    mask = smooth_mask(np.random.default_rng(seed), height, width)
    rle = encode_rle(mask)
    theirs = coco.encode(np.asfortranarray(mask, "uint8"))
    assert rle == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    for code in (rle, theirs, encode_rle(mask, compress=False)):
        decoded = decode_rle(code)
        assert decoded.dtype == bool
        np.testing.assert_array_equal(decoded, mask)


def test_long_runs_have_the_text_of_pycocotools():
    for size in ((4000, 3000), (1, 1 << 20), (1 << 20, 1)):
        mask = np.zeros(size, bool)
        mask.reshape(-1)[[0, -1, mask.size // 2]] = True
        rle = encode_rle(mask)
        assert rle["counts"].encode() == coco.encode(np.asfortranarray(mask, "uint8"))["counts"]
        np.testing.assert_array_equal(decode_rle(rle), mask)


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 0)])
def test_mask_without_pixels_survives(size):
    for compress in (False, True):
        assert decode_rle(encode_rle(np.zeros(size), compress)).shape == size


def test_runs_of_no_length_are_read():
    rle = {"size": [2, 3], "counts": [0, 0, 1, 2, 0, 1, 2, 0]}
    assert decode_rle(rle).T.ravel().astype(int).tolist() == [0, 1, 1, 1, 0, 0]
    assert decode_rle({"size": (0, 4), "counts": []}).shape == (0, 4)


def test_code_is_plain_python_for_json():
    for compress in (False, True):
        rle = encode_rle(np.eye(4, dtype="uint8"), compress)
        assert json.loads(json.dumps(rle)) == rle


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [4]}, r"a dict of 'size' and 'counts'; received \['counts'\]"),
        ([[0, 0, 4, 0, 4, 4]], "received list. Polygons go through kdl.ops.polygons_to_mask"),
        ({"size": [2], "counts": [4]}, r"size must be \[height, width\]; received \[2\]"),
        ({"size": 4, "counts": [4]}, "size must be"),
        ({"size": [2.0, 2], "counts": [4]}, "size must be"),
        ({"size": [-2, -2], "counts": [4]}, "size must be .* from 0 on"),
        ({"size": [2, 2], "counts": [1, 2]}, r"the 4 pixels of the size \[2, 2\]; .* sum of 3"),
        ({"size": [2, 2], "counts": [5, -1]}, "received a count of 5"),
        ({"size": [2, 2], "counts": [2, -1, 3]}, "received a count of -1"),
        ({"size": [2, 2], "counts": [2.0, 2.0]}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": [True] * 4}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": [[4]]}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": [[4], 2]}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": [1 << 70]}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": None}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": 4}, "counts must be a list of integers"),
        ({"size": [2, 2], "counts": "4 "}, "characters from '0' to 'o'"),
        ({"size": [2, 2], "counts": "4é"}, "characters from '0' to 'o'"),
        ({"size": [2, 2], "counts": "4\ud800"}, "characters from '0' to 'o'"),
        ({"size": [2, 2], "counts": "T"}, "end with a number; .* cut off"),
        ({"size": [2, 2], "counts": "oooooooo0"}, r"below 2³¹ in size; received one of 9"),
        ({"size": [2, 2], "counts": "N6"}, "received a count of -2"),
        ({"size": [2, 2], "counts": ""}, "received a sum of 0"),
    ],
)
def test_broken_code_raises(rle, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(rle)


@pytest.mark.parametrize("counts", [[10**12], "0" * 100, [0] * 1000])
def test_size_beyond_memory_raises_before_it_is_taken(counts):
    tracemalloc.start()
    with pytest.raises(ValueError, match="268435456 pixels at most"):
        decode_rle({"size": [10**6, 10**6], "counts": counts})
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_damaged_text_raises_or_fits_the_size():
    rle = encode_rle(smooth_mask(np.random.default_rng(4), 40, 30))
    messages = []
    for text in mutations(rle["counts"].encode(), 500):
        try:
            assert decode_rle({"size": [40, 30], "counts": text}).shape == (40, 30)
        except ValueError as error:
            messages.append(str(error))
    assert 250 < len(messages) <= 500
    assert all("ounts must be" in message for message in messages)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros(4), r"mask must have the shape \(height, width\); received \(4,\)"),
        (np.zeros((1, 2, 2)), r"received \(1, 2, 2\)"),
        (np.full((2, 2), 0.7), r"mask must hold 0 and 1; received 0.7. Cut scores at a threshold"),
        (np.full((2, 2), 255, "uint8"), "bytes by masks > 0"),
        (np.full((2, 2), np.nan), "mask must hold 0 and 1; received nan"),
    ],
)
def test_mask_of_other_numbers_or_shape_raises(mask, message):
    with pytest.raises(ValueError, match=message):
        encode_rle(mask)
