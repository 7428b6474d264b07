import keras
import numpy as np
import pytest
from data.box_scenes import box_scene, check_scene
from data.coco_files import box, write_coco
from keras import layers

from kdl.data import (
    DetectionDataset,
    InputSpec,
    RandomExpand,
    RandomHorizontalFlip,
    RandomIoUCrop,
    digit_scenes,
    instance_targets,
    read_coco,
    read_samples,
)


def scenes(count=6, height=40, width=60):
    """Images with one to three objects, padded."""
    images, targets = [], {"boxes": [], "labels": []}
    for number in range(count):
        boxes = [[3, 4, 20, 9], [30, 10, 60, 40], [5, 20, 15, 38]][: 1 + number % 3]
        image, target = box_scene(boxes, height, width)
        image[0, 0] = number
        images.append(image)
        rows = 3 - len(boxes)
        targets["boxes"].append(np.pad(target["boxes"], ((0, rows), (0, 0)), constant_values=-1))
        targets["labels"].append(np.pad(target["labels"], (0, rows), constant_values=-1))
    return np.stack(images), {key: np.stack(values) for key, values in targets.items()}


def lists(count=4):
    """Images of different sizes, and lists without padding."""
    images, targets = [], {"boxes": [], "labels": [], "masks": [], "visible_boxes": []}
    for number in range(count):
        image, target = box_scene([[3, 4, 20, 9], [2, 12, 8, 20]][:number], 24 + number, 40)
        images.append(image)
        for key in targets:
            targets[key].append(target[key])
    return images, targets


def numbers(dataset):
    """Which image each of an epoch is."""
    return [round(float(image[0, 0, 0]) * 255) for images, _ in dataset for image in images]


def test_batches_hold_scaled_images_and_their_truth():
    images, targets = scenes()
    dataset = DetectionDataset(images, targets, batch_size=4, shuffle=False)
    assert (len(dataset), dataset.size, dataset.max_boxes) == (2, (40, 60), 3)
    x, y = dataset[0]
    assert (x.dtype, x.shape) == (np.float32, (4, 40, 60, 3))
    np.testing.assert_allclose(x, images[:4] / 255, atol=1e-6)
    np.testing.assert_array_equal(y["boxes"], targets["boxes"][:4])
    np.testing.assert_array_equal(y["labels"], targets["labels"][:4])
    assert (y["boxes"].dtype, y["labels"].dtype) == (np.float32, np.int64)
    assert dataset[1][0].shape == (2, 40, 60, 3)


def test_epochs_are_exact_and_repeatable():
    runs = []
    for _ in range(2):
        dataset = DetectionDataset(*scenes(), batch_size=4, seed=3)
        run = []
        for _ in range(3):
            run.append(numbers(dataset))
            dataset.on_epoch_end()
        runs.append(run)
    assert runs[0] == runs[1]
    assert all(sorted(epoch) == list(range(6)) for epoch in runs[0])
    assert runs[0][0] != runs[0][1]
    resumed = DetectionDataset(*scenes(), batch_size=4, seed=3)
    resumed.epoch = 2
    assert numbers(resumed) == runs[0][2]
    short = DetectionDataset(*scenes(), batch_size=4, drop_remainder=True)
    assert [len(x) for x, _ in short] == [4]


def test_images_of_different_sizes_are_brought_to_one():
    images, targets = lists()
    dataset = DetectionDataset(images, targets, size=(24, 80), batch_size=4, shuffle=False)
    x, y = dataset[0]
    assert x.shape == (4, 24, 80, 3)
    assert y["masks"].shape == (4, 2, 24, 80)
    assert y["labels"].tolist() == [[-1, -1], [0, -1], [0, 1], [0, 1]]
    np.testing.assert_allclose(y["boxes"][2, 0], [6, 4 * 24 / 26, 40, 9 * 24 / 26], rtol=1e-5)
    np.testing.assert_array_equal(y["boxes"], y["visible_boxes"])
    assert y["masks"][2, 0, 4:8, 6:40].all()
    with pytest.raises(ValueError, match=r"4 sizes, such as \(24, 40\) and \(27, 40\): pass size"):
        DetectionDataset(images, targets)


def test_letterboxed_boxes_go_back_by_one_factor():
    images, targets = lists()
    dataset = DetectionDataset(
        images, targets, size=80, batch_size=4, letterbox=True, shuffle=False
    )
    x, y = dataset[0]
    np.testing.assert_allclose(y["boxes"][3] / 2, targets["boxes"][3])
    assert (x[0, 48:] == 0).all()
    assert not y["masks"][:, :, 56:].any()


def test_what_readers_return_is_taken(tmp_path):
    boxes = [box(10, 2, 0, 6, 4, segmentation=[[2, 0, 8, 0, 8, 4, 2, 4]]), box(11, 0, 0, 9, 9)]
    boxes[1]["segmentation"] = [[0, 0, 9, 0, 9, 9, 0, 9]]
    root = write_coco(tmp_path, sizes=((20, 10), (10, 20)), annotations=boxes)
    dataset = DetectionDataset(read_coco(root, masks=True), size=16)
    assert dataset.class_names == ["dog", "cat"]
    x, y = dataset[0]
    assert x.shape == (2, 16, 16, 3)
    assert y["masks"].shape == (2, 1, 16, 16)
    assert sorted(y) == ["area", "boxes", "crowd", "ignore", "labels", "masks"]
    maps = np.zeros((2, 8, 8), "int32")
    maps[0, 2:5, 1:4] = 9
    dataset = DetectionDataset(np.zeros((2, 8, 8, 3), "uint8"), instance_targets(maps))
    assert dataset[0][1]["masks"].sum() == 9
    scene = digit_scenes(2, 64, 3, digits_per_scene=3, masks=True, crowding=0.5)
    x, y = DetectionDataset(scene, shuffle=False)[0]
    np.testing.assert_array_equal(x, scene[0])
    for key, values in scene[1].items():
        np.testing.assert_array_equal(y[key], values)


AUGMENTATION = [RandomExpand(fill=0), RandomIoUCrop(), RandomHorizontalFlip()]


def test_augmentation_moves_boxes_and_masks_with_the_images():
    images, targets = lists()
    changed = 0
    dataset = DetectionDataset(images[3:], {k: v[3:] for k, v in targets.items()}, size=(27, 40))
    dataset._of_image = AUGMENTATION
    for epoch in range(60):
        dataset.epoch = epoch
        image, target = dataset._drawn(0)
        check_scene(image, target)
        changed += image.shape != images[3].shape
    assert changed > 30


@pytest.mark.parametrize(
    "steps",
    [AUGMENTATION, [layers.RandomFlip(), layers.RandomBrightness(0.2, (0, 1))]],
    ids=["of_one_image", "layers"],
)
def test_augmentation_follows_from_seed_epoch_and_image(steps):
    def batch(seed=0, epoch=0):
        dataset = DetectionDataset(
            *scenes(), batch_size=3, shuffle=False, seed=seed, augmentation=steps
        )
        dataset.epoch = epoch
        return dataset[0][0]

    first = batch()
    np.testing.assert_array_equal(first, batch())
    assert not np.array_equal(first, batch(seed=1))
    assert not np.array_equal(first, batch(epoch=1))


def test_augmentation_is_left_out_of_samples():
    dataset = DetectionDataset(*scenes(), augmentation=AUGMENTATION)
    x, y = dataset.unaugmented()
    np.testing.assert_allclose(x, scenes()[0] / 255, atol=1e-6)
    np.testing.assert_array_equal(y["boxes"], scenes()[1]["boxes"])
    samples = read_samples(dataset, limit=4)
    assert samples.inputs.shape == (4, 40, 60, 3)
    assert samples.labels is None


@pytest.mark.every_backend
def test_layers_of_keras_move_boxes_and_masks():
    images, targets = lists()
    steps = [layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1, "constant")]
    dataset = DetectionDataset(images, targets, size=(24, 40), batch_size=4, augmentation=steps)
    for epoch in range(5):
        dataset.epoch = epoch
        x, y = dataset[0]
        for row, column in np.argwhere(y["labels"] >= 0):
            left, top, right, bottom = y["boxes"][row, column].round().astype(int)
            inside = x[row, top:bottom, left:right, 0]
            assert (inside > 0.15).mean() > 0.8
            mask = y["masks"][row, column]
            assert mask[top:bottom, left:right].mean() > 0.6
            assert not mask[: max(top - 1, 0)].any()


def test_more_objects_than_rows_keep_the_largest():
    with pytest.warns(
        UserWarning, match="2 images of 6 have more than max_boxes=2 objects, up to 3"
    ):
        dataset = DetectionDataset(*scenes(), shuffle=False, max_boxes=2)
    _, y = dataset[0]
    assert y["labels"][2].tolist() == [1, 2]
    assert DetectionDataset(*scenes(), max_boxes=5)[0][1]["boxes"].shape == (6, 5, 4)


def test_spec_scales_and_orders_the_channels():
    spec = InputSpec((20, 30), mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5), color="bgr")
    images, targets = scenes()
    images[..., 0] = 255
    dataset = DetectionDataset(images, targets, spec=spec)
    x, _ = dataset[0]
    assert x.shape == (6, 20, 30, 3)
    np.testing.assert_allclose(x[..., 2], (1 - 0.3) / 0.5, rtol=1e-5)
    assert dataset.spec is spec
    with pytest.raises(ValueError, match="size must be that of spec"):
        DetectionDataset(images, targets, spec=spec, size=8)
    with pytest.raises(ValueError, match="images must be uint8"):
        DetectionDataset(images / 255, targets, spec=spec)


def with_box(*corners):
    boxes = np.full((6, 3, 4), -1.0)
    boxes[0, 0] = corners
    return {"boxes": boxes, "labels": np.where(boxes[..., 2] > 0, 0, -1)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": {"boxes": 1}}, 'dict with "boxes" and "labels"'),
        ({"targets": {"boxes": np.zeros((5, 1, 4)), "labels": np.zeros((5, 1))}}, "as many images"),
        ({"targets": {**scenes()[1], "ignore": np.zeros((6, 2))}}, "a row for each label"),
        ({"targets": with_box(20, 3, 9, 8)}, "x1 < x2 and y1 < y2; image 0"),
        ({"targets": with_box(20, np.nan, 30, 8)}, "must be finite"),
        ({"targets": with_box(70, 3, 80, 8)}, "lies outside of it"),
        ({"targets": with_box(0.1, 0.2, 0.5, 0.9)}, "shares of the sides"),
        ({"images": scenes()[0].astype("int32")}, "uint8 or floats; image 0 is int32"),
        ({"images": scenes()[0][..., 0]}, r"shape \(40, 60\)"),
        ({"targets": None}, "the pair"),
        ({"class_names": ["cat"]}, "Expected labels 0 … 0"),
        ({"augmentation": "flip"}, "functions of"),
        ({"augmentation": [layers.RandomCrop(8, 8)]}, "wrong axes"),
        ({"size": 0}, "size"),
        ({"max_boxes": 0}, "max_boxes"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_arguments(changes, message):
    images, targets = scenes()
    with pytest.raises(ValueError, match=message):
        DetectionDataset(**{"images": images, "targets": targets, **changes})


def test_masks_of_other_objects_are_refused():
    images, targets = lists()
    targets["masks"][2] = targets["masks"][2][:1]
    dataset = DetectionDataset(images, targets, size=16, batch_size=4)
    with pytest.raises(ValueError, match="for image 2 with 2 objects it holds"):
        dataset[0]


@keras.saving.register_keras_serializable("kdl_tests")
class Centers(keras.Model):
    """Learns how many objects an image has, from the dict of truth."""

    def __init__(self):
        super().__init__()
        self.pool = layers.GlobalAveragePooling2D()
        self.dense = layers.Dense(1)

    def call(self, x):
        return self.dense(self.pool(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        real = keras.ops.cast(y["labels"] >= 0, "float32")
        pixels = keras.ops.sum(keras.ops.cast(y["masks"], "float32"), (2, 3)) / 1000
        sides = keras.ops.mean(y["boxes"], -1) / 100
        total = keras.ops.sum(real * (1 + pixels + sides), 1, keepdims=True)
        return keras.ops.mean(keras.ops.square(y_pred - total))


@pytest.mark.every_backend
def test_fit_takes_the_dict_of_truth():
    scene = digit_scenes(10, 64, 3, digits_per_scene=(1, 3), masks=True, crowding=0.5)
    steps = [RandomHorizontalFlip(), layers.RandomFlip("vertical")]
    dataset = DetectionDataset(scene, size=32, batch_size=4, augmentation=steps)
    validation = DetectionDataset(scene, size=32, batch_size=4, shuffle=False)
    model = Centers()
    model.compile(keras.optimizers.SGD(0.1))
    history = model.fit(dataset, validation_data=validation, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert np.isfinite(history["val_loss"]).all()
    assert dataset.epoch == 8
