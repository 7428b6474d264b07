import keras
import numpy as np
import pytest
from golden import detectors

from kdl.applications import ResNet, ShuffleNetV2
from kdl.detection import (
    RPN,
    AnchorGenerator,
    BalancedSampler,
    BoxHead,
    DetectionSelector,
    FeaturePyramid,
    MaskHead,
    MaskRCNN,
    ROIHeads,
    load_torch_weights,
)
from kdl.ops import crop_masks, paste_masks

pytestmark = pytest.mark.every_backend

ALL = 10**6


def numpy(x):
    return keras.ops.convert_to_numpy(x)


class Golden:
    """torchvision's network, its weights in ours, and what both give."""

    def __init__(self):
        state, self.arrays, self.meta = detectors.load("maskrcnn_resnet50_fpn")
        image, settings = self.meta["image"], self.meta["settings"]
        self.size, classes = (image["height"], image["width"]), self.meta["num_classes"] - 1
        pre, post = settings["rpn_pre_nms_per_level"], settings["rpn_post_nms"]
        self.model = MaskRCNN(
            ResNet(50, include_top=False, input_shape=(*self.size, 3)),
            classes,
            rpn=RPN(self.size, candidates=(pre, pre), proposals=(post, post)),
            rpn_sampler=BalancedSampler(ALL, 1.0),
            sampler=BalancedSampler(ALL, 1.0),
            selector=DetectionSelector(
                settings["score"], candidates_of="class", max_detections=settings["keep"]
            ),
        )
        load_torch_weights(self.model, state)
        self.model.compile()
        self.images = detectors.pixels(**image)
        self.truth = detectors.truth(self.arrays)
        self.truth["labels"] = np.where(self.truth["labels"] > 0, self.truth["labels"] - 1, -1)
        self.truth["masks"] = np.zeros((*self.truth["labels"].shape, *self.size), bool)
        for number in (0, 1):
            masks = self.unpacked(f"gt_masks_{number}")
            self.truth["masks"][number, : len(masks)] = masks
        outputs = self.model(self.images, training=False)
        self.outputs = keras.tree.map_structure(numpy, outputs)

    def unpacked(self, key):
        return np.unpackbits(self.arrays[key], axis=-1, count=self.size[1]).astype(bool)


@pytest.fixture(scope="module")
def golden():
    return Golden()


@pytest.mark.long_to_compile
def test_masks_of_stored_detections_match_torchvision(golden):
    arrays = golden.arrays
    boxes = np.stack([arrays["boxes_0"], arrays["boxes_1"]])
    labels = np.stack([arrays["labels_0"], arrays["labels_1"]]) - 1
    logits = numpy(golden.model.roi_heads(golden.outputs["features"], boxes, masks=True))
    own = np.take_along_axis(logits, labels[..., None, None, None], 4)[..., 0]
    for image in (0, 1):
        expected = arrays[f"mask_probs_{image}"]
        np.testing.assert_allclose(1 / (1 + np.exp(-own[image])), expected, atol=5e-3)
        pasted = numpy(paste_masks(expected, boxes[image], golden.size))
        assert (pasted[:2] - arrays[f"pasted_first_{image}"]).max() < 1e-5


@pytest.fixture
def optimized():
    """JAX as users have it: what is quick to compile rounds otherwise, four pixels' worth."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.long_to_compile
def test_detections_and_masks_match_torchvision(golden, optimized):
    found = golden.model.predict(golden.images, verbose=0)
    arrays = {k: x - 1 if k.startswith("labels") else x for k, x in golden.arrays.items()}
    detectors.assert_detections_match(found, arrays)
    for image in (0, 1):
        expected = golden.unpacked(f"masks_{image}")
        assert found["masks"].shape[1:] == expected.shape
        np.testing.assert_allclose(found["boxes"][image], arrays[f"boxes_{image}"], atol=0.02)
        assert np.sum(found["masks"][image] != expected) <= 3


@pytest.mark.long_to_compile
def test_mask_targets_match_torchvision(golden):
    boxes, targets = golden.model.sample_regions(golden.truth, golden.outputs)
    goals = numpy(crop_masks(golden.truth["masks"], boxes, targets.indices))
    positive = numpy(targets.positive)
    for image in (0, 1):
        means = np.sort(goals[image][positive[image]].mean((1, 2)))
        expected = np.sort(golden.arrays[f"mask_target_means_{image}"])
        np.testing.assert_allclose(means, expected, atol=1e-4)


@pytest.mark.long_to_compile
@pytest.mark.parametrize("empty", [False, True])
def test_losses_match_torchvision(golden, empty):
    truth = detectors.without_second(golden.truth, empty)
    losses = golden.model.loss_terms(truth, golden.outputs, training=False)
    detectors.assert_losses_match(losses, golden.meta, empty)


@pytest.mark.long
def test_gradient_norms_match_torchvision(golden):
    def total(images):
        outputs = golden.model(images, training=False)
        return sum(golden.model.loss_terms(golden.truth, outputs, training=False).values())

    detectors.assert_gradient_norms_match(golden.model, total, golden.images, golden.meta)


def small(size=64, classes=3):
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(size, size, 3))
    anchors = AnchorGenerator([(12,), (18,), (24,), (36,), (48,)])
    return MaskRCNN(
        backbone,
        classes,
        neck=FeaturePyramid(16, "pool"),
        rpn=RPN((size, size), anchors, filters=16, candidates=(100, 50), proposals=(60, 30)),
        roi_heads=ROIHeads(BoxHead(classes, units=(32,)), MaskHead(classes, depth=1, filters=16)),
        sampler=BalancedSampler(24, 0.25),
        selector=DetectionSelector(candidates_of="class", max_detections=8),
        seed=1,
    )


@pytest.mark.long_to_compile
def test_fit_lowers_the_mask_loss_and_a_saved_detector_gives_the_same(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 0.2, (8, 64, 64, 3)).astype("float32")
    masks = np.zeros((8, 1, 64, 64), bool)
    boxes, labels = np.zeros((8, 1, 4), "float32"), np.zeros((8, 1), int)
    for number, (left, top) in enumerate(rng.integers(0, 40, (8, 2))):
        boxes[number] = left, top, left + 20, top + 20
        masks[number, 0, top : top + 20, left : left + 10] = True  # half of its box
        images[number, top : top + 20, left : left + 20] = 0.5
        images[number, top : top + 20, left : left + 10] = 1
    truth = {"boxes": boxes, "labels": labels, "masks": masks}
    model = small(classes=1)
    model.compile(keras.optimizers.Adam(2e-3))
    history = model.fit(images, truth, batch_size=4, epochs=8, verbose=0).history
    assert history["mask_loss"][-1] < 0.9 * history["mask_loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    ours, theirs = (m.predict(images, verbose=0) for m in (loaded, model))
    keras.tree.map_structure(np.testing.assert_array_equal, ours, theirs)
    assert ours["masks"].shape == (8, 8, 64, 64)


def test_truth_without_masks_raises():
    model = small()
    model.compile()
    truth = {"boxes": np.zeros((1, 1, 4)), "labels": np.zeros((1, 1))}
    with pytest.raises(ValueError, match="'masks'"):
        model.fit(np.zeros((1, 64, 64, 3)), truth, verbose=0)


def test_masks_of_another_size_raise():
    model = small()
    model.compile()
    truth = {"boxes": np.zeros((1, 1, 4)), "labels": np.zeros((1, 1), int)}
    with pytest.raises(ValueError, match=r"size of the network's input, \(batch, 1, 64, 64\)"):
        model.fit(np.zeros((1, 64, 64, 3)), {**truth, "masks": np.zeros((1, 1, 32, 32))}, verbose=0)


def test_heads_without_a_mask_head_raise():
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(64, 64, 3))
    with pytest.raises(ValueError, match="has no mask head"):
        MaskRCNN(backbone, 3, roi_heads=ROIHeads(BoxHead(3)))
