import importlib.util
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import layers

from kdl.data import ArrayDataset, Augmentation

pytestmark = pytest.mark.every_backend

IMAGES = np.random.default_rng(0).random((4, 24, 24, 3)).astype("float32")
BOX = np.array([8, 6, 17, 14])  # xyxy


def generator(seed=0):
    return np.random.default_rng(seed)


def box_images():
    """Images with one bright box, and its mask with label 2."""
    masks = np.zeros((4, 24, 24), "uint8")
    masks[:, BOX[1] : BOX[3], BOX[0] : BOX[2]] = 2
    return np.repeat(masks[..., None] / 2, 3, -1).astype("float32"), masks


def constant(cls, *arguments):
    """Black and class 0 enter, so that there is one box."""
    return cls(*arguments, fill_mode="constant")


def test_what_keras_does_with_the_same_seeds():
    augmentation = Augmentation([layers.RandomFlip(), layers.RandomBrightness(0.3, (0, 1))])
    found = augmentation(IMAGES, generator())
    flip_seed, brightness_seed = generator().integers(1, 2**31 - 1, 2).tolist()
    expected = layers.RandomFlip(seed=flip_seed)(IMAGES, training=True)
    brightness = layers.RandomBrightness(0.3, (0, 1), seed=brightness_seed)
    expected = keras.ops.convert_to_numpy(brightness(expected, training=True))
    np.testing.assert_array_equal(found, expected)
    assert type(found) is np.ndarray
    assert not np.array_equal(found, IMAGES)


def test_follows_from_seed_epoch_and_batch():
    augmentation = Augmentation([layers.RandomFlip(), layers.RandomContrast(0.3)])
    first, second = (
        ArrayDataset(IMAGES, np.arange(4), batch_size=2, augment=augmentation) for _ in range(2)
    )
    expected = [first[0][0], first[1][0]]
    with ThreadPoolExecutor(4) as pool:  # as the workers of fit do
        found = list(pool.map(lambda i: second[i % 2][0], range(8)))
    for i, batch in enumerate(found):
        np.testing.assert_array_equal(batch, expected[i % 2])
    second.epoch = 1
    assert not np.array_equal(second[0][0], expected[0])


def test_in_fit():
    model = keras.Sequential([keras.Input((24, 24, 3)), layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    augmentation = Augmentation([layers.RandomFlip(), layers.Rescaling(0.5)])
    dataset = ArrayDataset(IMAGES, np.zeros((4, 1)), batch_size=2, augment=augmentation)
    history = model.fit(dataset, epochs=2, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()


def test_dtypes_and_layers_without_seeds():
    nested = keras.Sequential([layers.Pipeline([layers.Rescaling(2.0)]), layers.RandomFlip()])
    augmentation = Augmentation([nested, layers.CenterCrop(12, 10)])
    assert len(augmentation.layers) == 3
    whole = augmentation((IMAGES * 255).astype("uint8"), generator())
    half = augmentation(IMAGES.astype("float16"), generator())
    assert (whole.dtype, half.dtype) == (np.float32, np.float16)
    assert whole.shape == (4, 12, 10, 3)
    np.testing.assert_allclose(whole / 255, half, atol=0.01)


def test_global_settings_change_nothing():
    """Float32 under mixed precision, channels last whatever Keras's data format."""
    expected = Augmentation([layers.RandomBrightness(0.3, (0, 1))])(IMAGES, generator())
    data_format = keras.config.image_data_format()
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.set_image_data_format("channels_first")
    try:
        found = Augmentation([layers.RandomBrightness(0.3, (0, 1))])(IMAGES, generator())
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format(data_format)
    np.testing.assert_array_equal(found, expected)


GEOMETRIC = {
    "flip": lambda: [layers.RandomFlip()],
    "rotation": lambda: [constant(layers.RandomRotation, 0.1)],
    "translation": lambda: [constant(layers.RandomTranslation, 0.2, 0.2)],
    "zoom": lambda: [constant(layers.RandomZoom, 0.2, 0.2)],
    "perspective": lambda: [layers.RandomPerspective(0.5)],
    "resizing": lambda: [layers.RandomInvert(0.0), layers.Resizing(32, 20)],
}


@pytest.mark.parametrize("name", [*GEOMETRIC, "crop"])
def test_masks_move_as_the_images_do(name):
    images, masks = box_images()
    made = GEOMETRIC[name]() if name in GEOMETRIC else [layers.RandomCrop(16, 16)]
    augmentation = Augmentation(made, labels="masks")
    assert augmentation.takes_labels
    for seed in range(3):
        found, moved = augmentation(images, masks, generator(seed))
        assert moved.dtype == masks.dtype
        assert moved.shape == found.shape[:3]
        assert set(np.unique(moved)) <= {0, 2}
        # At an edge the images are interpolated, and the masks are not.
        assert np.mean((found[..., 0] > 0.5) == (moved == 2)) > 0.985
    with_axis = augmentation(images, masks[..., None], generator(seed))[1]
    np.testing.assert_array_equal(with_axis[..., 0], moved)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_boxes_move_as_the_images_do(name):
    images, _ = box_images()
    boxes = np.full((4, 2, 4), -1.0, "float32")
    boxes[:, 0] = BOX
    classes = np.tile([3, -1], (4, 1))
    labels = {"boxes": boxes, "classes": classes, "weights": np.ones((4, 2))}
    for seed in range(3):
        augmentation = Augmentation(GEOMETRIC[name](), labels="boxes")
        found, moved = augmentation(images, labels, generator(seed))
        np.testing.assert_array_equal(moved["classes"], classes)
        np.testing.assert_array_equal(moved["boxes"][:, 1], boxes[:, 1])
        assert moved["weights"] is labels["weights"]
        for image, box in zip(found[..., 0], moved["boxes"][:, 0], strict=True):
            rows, columns = np.nonzero(image > 0.5)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # Around a box that was turned, by a pixel or so.
            np.testing.assert_allclose(box, seen, atol=2.5)
    np.testing.assert_array_equal(labels["boxes"], boxes)


def test_boxes_that_leave_the_image_become_padding():
    """And what has no class is padding, whatever its box."""
    boxes = np.array([[[0, 0, 4, 4], [10, 10, 24, 24], [10, 10, 20, 20]]] * 4, "float32")
    labels = {"boxes": boxes, "classes": np.array([[1, 2, -1]] * 4)}
    move = layers.RandomTranslation((-0.5, -0.5), (-0.5, -0.5))
    _, moved = Augmentation([move], labels="boxes")(IMAGES, labels, generator())
    np.testing.assert_array_equal(moved["classes"], [[-1, 2, -1]] * 4)
    np.testing.assert_array_equal(moved["boxes"][:, [0, 2]], -np.ones((4, 2, 4)))
    np.testing.assert_allclose(moved["boxes"][:, 1], [[0, 0, 12, 12]] * 4, atol=1e-4)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_truth_of_detectors_moves_as_the_images_do(name):
    """Visible boxes and masks of objects, too."""
    images, masks = box_images()
    boxes = np.full((4, 3, 4), -1.0, "float32")
    boxes[:, :2] = BOX
    truth = {
        "boxes": boxes,
        "visible_boxes": boxes.copy(),
        "labels": np.tile([3, 0, -1], (4, 1)),
        "masks": np.stack([masks > 0, masks > 0, np.zeros_like(masks, bool)], 1),
        "area": np.full((4, 3), 72.0, "float32"),
        "ignore": np.zeros((4, 3), bool),
    }
    truth["visible_boxes"][:, 1] = -1  # hidden
    for seed in range(3):
        augmentation = Augmentation(GEOMETRIC[name](), labels="boxes")
        found, moved = augmentation(images, truth, generator(seed))
        assert {key: value.dtype for key, value in moved.items()} == {
            key: value.dtype for key, value in truth.items()
        }
        np.testing.assert_array_equal(moved["labels"], truth["labels"])
        np.testing.assert_array_equal(moved["boxes"][:, 0], moved["visible_boxes"][:, 0])
        assert (moved["visible_boxes"][:, 1:] == -1).all()
        assert moved["masks"].shape == (4, 3, *found.shape[1:3])
        assert np.mean((found[..., 0] > 0.5) == moved["masks"][:, 0]) > 0.985
        assert not moved["masks"][:, 2].any()
        sides = (moved["boxes"][..., 2:] - moved["boxes"][..., :2])[:, 0]
        np.testing.assert_allclose(moved["area"][:, 0], sides.prod(-1), rtol=1e-4)


def test_reflection_of_an_object_is_not_of_its_mask():
    """What enters by default is a reflection of the image; its box is around the object alone."""
    images, masks = box_images()
    images, masks = np.roll(images, -8, 2), np.roll(masks, -8, 2)
    truth = {
        "boxes": np.tile(np.array([[[0, 6, 9, 14]]], "float32"), (4, 1, 1)),
        "labels": np.zeros((4, 1), int),
        "masks": (masks > 0)[:, None],
    }
    move = layers.RandomTranslation((0, 0), (0.25, 0.25))
    found, moved = Augmentation([move], labels="boxes")(images, truth, generator())
    assert (found[..., 0] > 0.5).sum() > 4 * 72
    assert moved["masks"].sum() == 4 * 72
    np.testing.assert_allclose(moved["boxes"][0, 0], [6, 6, 15, 14], atol=1e-4)


def test_objects_that_leave_the_image_take_their_visible_boxes_along():
    boxes = np.array([[[0, 0, 6, 6], [10, 10, 24, 24]]] * 4, "float32")
    visible = np.array([[[0, 0, 6, 6], [10, 10, 12, 24]]] * 4, "float32")
    truth = {"boxes": boxes, "visible_boxes": visible, "labels": np.array([[1, 2]] * 4)}
    move = layers.RandomTranslation((-0.5, -0.5), (-0.5, -0.5))
    _, moved = Augmentation([move], labels="boxes")(IMAGES, truth, generator())
    np.testing.assert_array_equal(moved["labels"], [[-1, 2]] * 4)
    np.testing.assert_array_equal(moved["visible_boxes"], [[[-1] * 4] * 2] * 4)
    np.testing.assert_allclose(moved["boxes"][:, 1], [[0, 0, 12, 12]] * 4, atol=1e-4)


@pytest.mark.parametrize(
    ("made", "labels", "message"),
    [
        (lambda: [layers.MixUp()], None, "MixUp mixes images but not the labels"),
        (lambda: [layers.CutMix()], None, "use kdl.data.Mixup"),
        (lambda: [layers.RandomGrayscale()], None, "RandomGrayscale leaves its seed out"),
        (lambda: [layers.AugMix((0, 1))], None, "AugMix draws from outside its seed"),
        (lambda: [layers.RandomElasticTransform(1.0)], None, "on PyTorch draws from outside"),
        (lambda: [layers.RandomShear(0.1)], None, "RandomShear can't be made anew"),
        (lambda: [layers.RandomCrop(8, 8)], "boxes", "moves boxes along the wrong axes"),
        (lambda: [layers.RandAugment((0, 1))], "boxes", "moves boxes in another order"),
        (lambda: [layers.MaxNumBoundingBoxes(3)], "boxes", "changes the number of boxes alone"),
        (lambda: [np.fliplr], None, "a list of Keras layers; it holds <function"),
        (lambda: [], "labels", 'labels must be "masks", "boxes" or None'),
    ],
)
def test_refused(made, labels, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(made(), labels)


def test_called_with_the_wrong_arguments():
    with pytest.raises(ValueError, match=r"called with \(images, labels, rng\); received 2"):
        Augmentation([], labels="masks")(IMAGES, generator())
    with pytest.raises(ValueError, match=r"called with \(images, rng\); received 3"):
        Augmentation([])(IMAGES, IMAGES, generator())


# PyTorch warns of what Keras's AugMix calls.
@pytest.mark.filterwarnings("ignore:Tensor.T is deprecated")
def test_what_is_refused_is_still_wrong():
    """When one of these fails, Keras has mended it: then it need not be refused."""

    def twice(cls, **arguments):
        made = (cls(**arguments)(IMAGES, training=True) for _ in range(2))
        return [keras.ops.convert_to_numpy(images) for images in made]

    if keras.backend.backend() != "jax":  # where it takes half a minute
        assert not np.array_equal(*twice(layers.AugMix, value_range=(0, 1), seed=1))
    assert "seed" not in layers.RandomGrayscale(seed=1).get_config()
    with pytest.raises(TypeError):
        layers.RandomShear.from_config(layers.RandomShear(0.1).get_config())
    # A crop of nearly the whole height and a part of the width moves boxes up and down.
    crop = layers.RandomCrop(23, 4, seed=1, bounding_box_format="xyxy")
    boxes = {"boxes": np.array([[[23.0, 0, 24, 24]]] * 4, "float32"), "labels": np.ones((4, 1))}
    found = crop({"images": IMAGES, "bounding_boxes": boxes}, training=True)["bounding_boxes"]
    assert float(keras.ops.max(found["boxes"][..., 0])) > 4  # right of the image


@pytest.mark.tensorflow
@pytest.mark.skipif(not importlib.util.find_spec("keras_cv"), reason="needs keras_cv")
# KerasCV is not maintained any more, and warns of what it imports.
@pytest.mark.filterwarnings("ignore")
def test_keras_cv():
    """Layers that draw from TensorFlow's global seed are repeatable too, on any backend."""
    import keras_cv

    augmentation = Augmentation(
        [keras_cv.layers.RandomHue(0.3, (0, 1)), layers.RandomFlip(), keras_cv.layers.GridMask()]
    )
    first, again, other = (augmentation(IMAGES, generator(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == IMAGES.shape
    with pytest.raises(ValueError, match="of KerasCV changes images alone"):
        Augmentation([keras_cv.layers.RandomHue(0.3, (0, 1))], labels="masks")
