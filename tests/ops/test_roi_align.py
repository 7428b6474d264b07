import json

import keras
import numpy as np
import pytest

from kdl.ops import pyramid_roi_align, roi_align, roi_levels
from kdl.testing import _checks
from kdl.testing._gradients import gradients


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def load(root, name):
    golden = dict(np.load(root / "tests" / "golden" / "detection" / f"{name}.npz"))
    return golden, json.loads(bytes(golden["meta"]).decode())


@pytest.fixture(scope="module")
def golden(root):
    return load(root, "ops_roi_align")


CASES = [n for n in range(10) if n not in (0, 7)]  # neither aligned nor adaptive, and both


def both_images(boxes):
    """The same boxes in each image: the golden file names an image for each box."""
    return np.stack([boxes, boxes])


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "case", [0, 7, *(pytest.param(n, marks=pytest.mark.long_to_compile) for n in CASES)]
)
def test_values_are_those_of_torchvision(case, golden):
    arrays, meta = golden
    case = meta["cases"][case]
    values = roi_align(
        arrays["features"],
        both_images(arrays["boxes"]),
        tuple(case["size"]),
        case["scale"],
        case["sampling_ratio"] or None,
        case["aligned"],
    )
    image, boxes = arrays["image_index"], np.arange(len(arrays["boxes"]))
    expected = arrays[case["output"]]
    error = np.abs(numpy(values)[image, boxes] - expected).max() / expected.std()
    assert error <= 5e-5


@pytest.mark.every_backend
def test_gradient_is_that_of_torchvision(golden):
    arrays, _ = golden
    image, boxes = arrays["image_index"], np.arange(len(arrays["boxes"]))
    upstream = np.zeros((2, *arrays["upstream"].shape), "float32")
    upstream[image, boxes] = arrays["upstream"]

    def total(x):
        pooled = roi_align(x[0], both_images(arrays["boxes"]), 7, 1 / 8)
        return keras.ops.sum(keras.ops.multiply(pooled, upstream))

    _, [gradient] = gradients(total, [], [arrays["features"]])
    expected = arrays["gradient"] * _checks.random_array((), seed=1)  # of what is derived
    assert np.abs(gradient - expected).max() / expected.std() <= 5e-5


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("rule", "key"), [("torchvision", "torchvision"), ("detectron2", "aligned")]
)
def test_pyramid_levels_and_values_are_those_of_the_reference(rule, key, root):
    arrays, meta = load(root, "ops_roi_levels")
    counts = [len(arrays["boxes_0"]), len(arrays["boxes_1"])]
    boxes = np.zeros((2, max(counts), 4), "float32")
    for image, count in enumerate(counts):
        boxes[image, :count] = arrays[f"boxes_{image}"]
    real = np.arange(max(counts)) < np.array(counts)[:, None]
    levels = roi_levels(boxes, rule=rule)
    np.testing.assert_array_equal(numpy(levels)[real], arrays[f"{key}_levels"])
    features = [arrays[f"level_{number}"] for number in range(4)]
    scales = [1 / stride for stride in meta["strides"]]
    values = pyramid_roi_align(features, boxes, levels, scales, aligned=rule == "detectron2")
    expected = arrays[key]
    assert np.abs(numpy(values)[real] - expected).max() / expected.std() <= 5e-5


def test_worked_numbers():
    image = np.arange(25, dtype="float32").reshape(1, 5, 5, 1)
    for box, aligned, expected in (
        ([1, 1, 3, 3], True, [[6, 7], [11, 12]]),
        ([1, 1, 3, 3], False, [[9, 10], [14, 15]]),
        ([-1, -1, 2, 2], True, [[0, 0.375], [1.875, 4.5]]),
        ([-1, -1, 2, 2], False, [[0.375, 1.5625], [6.3125, 7.5]]),
    ):
        cells = roi_align(image, np.float32([[box]]), size=2, aligned=aligned)
        np.testing.assert_allclose(numpy(cells)[0, 0, :, :, 0], expected, atol=1e-5)


def test_boxes_that_are_no_numbers_give_zeros():
    image = np.ones((1, 4, 4, 2), "float32")
    boxes = np.float32([[[np.nan, 0, 2, 2], [np.inf, 0, 2, 2], [9, 9, 12, 12], [-1, -1, -1, -1]]])
    values = numpy(roi_align(image, boxes, size=2))
    assert np.isfinite(values).all()
    assert (values[0, [0, 2]] == 0).all()


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.long_to_compile)]
)
def test_half_precision_is_computed_in_float32(dtype):
    rng = np.random.default_rng(0)
    image = keras.ops.cast(rng.normal(size=(1, 6, 6, 3)), dtype)
    boxes = np.float32([[[0.3, 0.6, 4.2, 5.1]]])
    values = roi_align(image, boxes, 3)
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    expected = roi_align(keras.ops.cast(image, "float32"), boxes, 3)
    np.testing.assert_allclose(numpy(values), numpy(keras.ops.cast(expected, dtype)))


class Pooling(keras.layers.Layer):
    def call(self, image, boxes):
        return roi_align(image, boxes, (2, 3), sampling_ratio=self.ratio)

    def __init__(self, ratio):
        super().__init__()
        self.ratio = ratio


@pytest.mark.every_backend
@pytest.mark.parametrize(("side", "ratio"), [(None, 2), (6, None)])
def test_layer_of_a_compiled_model(side, ratio):
    image, boxes = keras.Input((side, side, 3)), keras.Input((5, 4))
    outputs = Pooling(ratio)(image, boxes)
    assert tuple(outputs.shape) == (None, 5, 2, 3, 3)
    model = keras.Model([image, boxes], outputs)
    rng = np.random.default_rng(0)
    low, sides = rng.uniform(0, 3, (2, 2, 5, 2))
    boxes = np.concatenate([low, low + sides], -1).astype("float32")
    image = rng.normal(size=(2, 6, 6, 3)).astype("float32")
    expected = numpy(roi_align(image, boxes, (2, 3), sampling_ratio=ratio))
    np.testing.assert_allclose(model.predict([image, boxes], verbose=0), expected, atol=1e-5)


@pytest.mark.every_backend
def test_adaptive_sampling_is_the_same_in_compiled_code_and_ends_at_the_image():
    image = np.random.default_rng(0).normal(size=(1, 6, 6, 2)).astype("float32")
    boxes = np.float32(
        [[[-6, -6, 12, 12], [0, 0, 1e7, 3], [np.nan, 0, 2, 2], [1, 1, 4, 5], [0] * 4]]
    )
    inputs = keras.Input((6, 6, 2)), keras.Input((5, 4))
    model = keras.Model(inputs, Pooling(None)(*inputs))
    expected = numpy(roi_align(image, boxes, (2, 3), sampling_ratio=None))
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(model.predict([image, boxes], verbose=0), expected, atol=1e-5)


def test_boxes_that_are_no_numbers_have_a_level_and_levels_a_range():
    boxes = np.float32([[[np.nan, 0, 1, 1], [0, 0, np.inf, 0], [0, 0, 9, 9]]])
    levels = roi_levels(boxes)
    assert numpy(levels).tolist() == [[0, 0, 0]]
    features = [np.ones((1, 4, 4, 3), "float32"), np.ones((1, 2, 2, 3), "float32")]
    values = pyramid_roi_align(features, boxes, np.array([[-1, 9, 0]]), [1.0, 0.5])
    assert np.isfinite(numpy(values)).all()


def test_no_boxes():
    assert roi_align(np.ones((2, 4, 4, 3)), np.ones((2, 0, 4))).shape == (2, 0, 7, 7, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "size must be a positive integer; received 0"),
        ({"sampling_ratio": 0}, "sampling_ratio must be a positive integer"),
        ({"scale": 0.0}, "Scales must be positive and finite"),
        ({"boxes": np.ones((3, 4))}, r"Expected boxes \(batch, N, 4\)"),
        ({"boxes": np.ones((1, 3, 5))}, "boxes must have four numbers"),
        ({"boxes": np.ones((2, 3, 4))}, r"features and boxes of as many images; received \[1, 2\]"),
        ({"features": np.ones((1, 4, 4, 3), int)}, "Expected float features"),
        ({"features": np.ones((4, 4, 3))}, r"Expected features \(batch, height, width, channels\)"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    given = {"features": np.ones((1, 4, 4, 3)), "boxes": np.ones((1, 3, 4)), **arguments}
    with pytest.raises(ValueError, match=message):
        roi_align(**given)


def test_as_many_scales_as_levels():
    features = [np.ones((1, 4, 4, 3)), np.ones((1, 2, 2, 3))]
    with pytest.raises(ValueError, match="a scale for each of 2 levels, not 1"):
        pyramid_roi_align(features, np.ones((1, 1, 4)), np.zeros((1, 1)), [1.0])
    with pytest.raises(ValueError, match="last must be an integer of at least 3"):
        roi_levels(np.ones((1, 4)), first=3, last=2)
