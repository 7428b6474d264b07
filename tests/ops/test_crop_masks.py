import keras
import numpy as np
import pytest

from kdl.ops import crop_masks, roi_align


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def golden(root):
    arrays = dict(np.load(root / "tests" / "golden" / "detection" / "ops_masks.npz"))
    arrays["truth_masks"] = np.unpackbits(arrays["truth_masks"], axis=-1, count=96)
    return arrays


def crop(golden, **arguments):
    inputs = (golden[key][None] for key in ("truth_masks", "target_boxes", "target_index"))
    return numpy(crop_masks(*inputs, **arguments))[0]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("key", "arguments"),
    [("targets_soft", {}), ("targets_ratio2", {"sampling_ratio": 2, "aligned": True})],
)
def test_soft_targets_are_those_of_the_reference(key, arguments, golden):
    expected = golden[key]
    assert np.abs(crop(golden, **arguments) - expected).max() / expected.std() <= 5e-5


@pytest.mark.every_backend
def test_binary_targets_are_those_of_the_reference(golden):
    expected = np.unpackbits(golden["targets_binary"], axis=-1, count=28)
    np.testing.assert_array_equal(crop(golden, aligned=True, binary=True), expected)


def scene():
    rng = np.random.default_rng(0)
    masks = rng.random((2, 3, 20, 26)) < 0.5
    low = rng.uniform(-6, 16, (2, 5, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 25, (2, 5, 2))], -1).astype("float32")
    return masks, boxes, rng.integers(0, 3, (2, 5))


@pytest.mark.every_backend
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [None, 3])
def test_targets_match_roi_align_of_each_mask(aligned, ratio):
    masks, boxes, matches = scene()
    crops = numpy(crop_masks(masks, boxes, matches, (4, 6), ratio, aligned))
    features = np.moveaxis(masks, 1, -1).astype("float32")
    pooled = numpy(roi_align(features, boxes, (4, 6), 1.0, ratio, aligned))
    image, region = np.indices(matches.shape)
    np.testing.assert_allclose(crops, pooled[image, region, :, :, matches], atol=1e-5)


class Crop(keras.layers.Layer):
    def call(self, masks, boxes, matches):
        return crop_masks(masks, boxes, matches, (4, 6))


@pytest.mark.every_backend
def test_adaptive_sampling_is_the_same_in_a_compiled_model():
    scenes = scene()
    inputs = [
        keras.Input(array.shape[1:], dtype=dtype)
        for array, dtype in zip(scenes, ("bool", "float32", "int32"), strict=True)
    ]
    outputs = Crop()(*inputs)
    assert tuple(outputs.shape) == (None, 5, 4, 6)
    crops = keras.Model(inputs, outputs).predict(list(scenes), verbose=0)
    np.testing.assert_allclose(crops, numpy(crop_masks(*scenes, (4, 6))), atol=1e-5)


@pytest.mark.parametrize(("side", "size"), [(3, 1), (12, 1), (17, 4), (19, 1), (25, 28)])
def test_cell_of_which_exactly_half_is_covered_is_part_of_a_binary_target(side, size):
    masks = np.zeros((1, 1, side, side + 1), bool)
    masks[..., : (side + 1) // 2] = True
    left = 0.5 if side % 2 else 0.0  # a point may lie between two pixels
    box = np.float32([[[left, 0, left + side, side]]])
    match = np.zeros((1, 1), int)
    soft = numpy(crop_masks(masks, box, match, (size, 1), aligned=True))
    np.testing.assert_allclose(soft, 0.5, atol=1e-6)
    assert numpy(crop_masks(masks, box, match, (size, 1), aligned=True, binary=True)).all()


def test_padded_rows_give_numbers():
    masks, boxes, matches = scene()
    boxes[:, 3:], matches[0, 3:], matches[1, 3:] = -1, -1, 99
    boxes[0, 2] = np.nan
    crops = numpy(crop_masks(masks, boxes, matches))
    assert crops.shape == (2, 5, 28, 28)
    assert np.isfinite(crops).all()
    matches[0, 3:], matches[1, 3:] = 0, 2
    np.testing.assert_array_equal(crops, numpy(crop_masks(masks, boxes, matches)))


def test_no_masks_or_regions_give_zeros_or_nothing():
    none = crop_masks(np.ones((2, 0, 4, 4)), np.ones((2, 3, 4)), np.zeros((2, 3), int), 5)
    assert none.shape == (2, 3, 5, 5)
    assert not numpy(none).any()
    regions = crop_masks(np.ones((2, 1, 4, 4)), np.ones((2, 0, 4)), np.zeros((2, 0), int))
    assert regions.shape == (2, 0, 28, 28)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be a positive integer; received 0"),
        ({"sampling_ratio": 0}, "sampling_ratio must be a positive integer"),
        ({"masks": np.ones((2, 4, 4))}, r"Expected masks \(batch, M, height, width\)"),
        (
            {"masks": np.ones((1, 2, 4, 4))},
            r"received shapes \(1, 2, 4, 4\), \(2, 3, 4\), \(2, 3\)",
        ),
        ({"masks": np.ones((2, 2, 0, 4))}, "number, height and width of the masks must be known"),
        ({"boxes": np.ones((2, 3, 5))}, "boxes must have four numbers"),
        ({"matches": np.ones((2, 4))}, r"matches \(batch, N\)"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    given = {
        "masks": np.ones((2, 2, 4, 4)),
        "boxes": np.ones((2, 3, 4)),
        "matches": np.ones((2, 3)),
        **arguments,
    }
    with pytest.raises(ValueError, match=message):
        crop_masks(**given)
