import keras
import numpy as np
import pytest
from colored_squares import squares
from golden import detectors

from kdl.applications import ResNet, ShuffleNetV2
from kdl.detection import (
    AnchorGenerator,
    FeaturePyramid,
    RetinaNet,
    RetinaNetHead,
    load_torch_weights,
)
from kdl.losses import GIoULoss, SmoothL1

pytestmark = pytest.mark.every_backend


def numpy(x):
    return keras.ops.convert_to_numpy(x)


class Golden:
    """torchvision's network, its weights in ours, and what both give."""

    def __init__(self):
        state, self.arrays, self.meta = detectors.load("retinanet_resnet50_fpn")
        image = self.meta["image"]
        backbone = ResNet(50, include_top=False, input_shape=(image["height"], image["width"], 3))
        self.model = RetinaNet(backbone, self.meta["num_classes"])
        load_torch_weights(self.model, state)
        self.model.compile()
        self.images = detectors.pixels(**image)
        self.truth = detectors.truth(self.arrays)


@pytest.fixture(scope="module")
def golden():
    return Golden()


def losses_of_torchvision(golden, images, truth):
    """torchvision divides by the positives of each image, and takes the mean over images."""
    terms = []
    for image in (0, 1):
        outputs = golden.model(images[image : image + 1], training=False)
        of_image = {key: values[image : image + 1] for key, values in truth.items()}
        terms.append(golden.model.loss_terms(of_image, outputs, None))
    return {key: (terms[0][key] + terms[1][key]) / 2 for key in terms[0]}


def test_features_and_head_match_torchvision(golden):
    levels = golden.model.get_layer("fpn").output
    whole = keras.Model(golden.model.inputs[0], {"features": levels, **golden.model.output})
    outputs = keras.tree.map_structure(numpy, whole(golden.images, training=False))
    for level, theirs in zip(outputs["features"], (0, 1, 2, "p6", "p7"), strict=True):
        detectors.assert_close(level[..., :: 256 // 8], golden.arrays[f"feature_{theirs}"], 1e-4)
    detectors.assert_close(outputs["class_logits"], golden.arrays["cls_logits"], 1e-4)
    detectors.assert_close(outputs["box_offsets"], golden.arrays["bbox_regression"], 1e-4)


def test_anchors_matches_and_decoded_boxes_match_torchvision(golden):
    model, arrays = golden.model, golden.arrays
    np.testing.assert_array_equal(model.anchors, arrays["anchors"])
    decoded = numpy(model.decoder.coder.decode(arrays["bbox_regression"], model.anchors))
    detectors.assert_close(decoded[:, ::8], arrays["decoded"], 5e-5)
    boxes, labels = golden.truth["boxes"], golden.truth["labels"]
    indices, positive, valid, _ = map(numpy, model.matcher(model.anchors, boxes, labels >= 0))
    told = np.where(positive, indices, np.where(valid, -1, -2))
    for image in (0, 1):
        np.testing.assert_array_equal(told[image], arrays[f"matches_{image}"])


def test_detections_match_torchvision(golden):
    detectors.assert_detections_match(golden.model.predict(golden.images, verbose=0), golden.arrays)


@pytest.mark.long_to_compile
@pytest.mark.parametrize("empty", [False, True])
def test_losses_match_torchvision(golden, empty):
    truth = detectors.without_second(golden.truth, empty)
    losses = losses_of_torchvision(golden, golden.images, truth)
    detectors.assert_losses_match(losses, golden.meta, empty)


@pytest.mark.long_to_compile
def test_gradient_norms_match_torchvision(golden):
    def total(images):
        return sum(losses_of_torchvision(golden, images, golden.truth).values())

    detectors.assert_gradient_norms_match(golden.model, total, golden.images, golden.meta)


def small(size=64, classes=3, **arguments):
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(size, size, 3))
    head = RetinaNetHead(classes, 6, filters=16, depth=1)
    anchors = AnchorGenerator([(s, 1.4 * s) for s in (8, 16, 32, 64, 128)])
    neck = FeaturePyramid(16, extra="c5")
    return RetinaNet(backbone, classes, neck=neck, head=head, anchors=anchors, **arguments)


def test_fit_lowers_every_loss_and_detects():
    images, truth = squares()
    model = small()
    model.compile(keras.optimizers.Adam(3e-3))
    history = model.fit(images, truth, batch_size=4, epochs=6, verbose=0, shuffle=False).history
    assert {"loss", "box_loss", "class_loss"} <= history.keys()
    np.testing.assert_allclose(
        history["loss"], np.add(history["box_loss"], history["class_loss"]), rtol=1e-4
    )
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    evaluated = model.evaluate(images, truth, batch_size=4, verbose=0, return_dict=True)
    assert evaluated.keys() == {"loss", "box_loss", "class_loss"}
    found = model.predict(images, batch_size=4, verbose=0)
    assert found["boxes"].shape == (8, 300, 4)
    np.testing.assert_allclose(model.predict_on_batch(images)["scores"], found["scores"], rtol=1e-4)


@pytest.mark.long_to_compile
def test_saved_detector_loads_compiled_and_gives_the_same(tmp_path):
    images, truth = squares(2)
    model = small()
    model.compile("sgd", box_loss=GIoULoss(reduction="sum"), loss_weights={"box_loss": 2.0})
    model.fit(images, truth, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is RetinaNet
    ours, theirs = (m.predict(images, verbose=0) for m in (loaded, model))
    keras.tree.map_structure(np.testing.assert_array_equal, ours, theirs)
    before, after = (m.evaluate(images, truth, verbose=0) for m in (model, loaded))
    np.testing.assert_allclose(after, before, rtol=1e-5)


@pytest.mark.long_to_compile
def test_clone_has_outputs_of_the_same_form():
    model = small()
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    images, _ = squares(1)
    keras.tree.map_structure(
        lambda ours, theirs: np.testing.assert_allclose(numpy(ours), numpy(theirs), atol=1e-5),
        clone(images),
        model(images),
    )


def test_truth_that_is_none_raises():
    model = small()
    model.compile()
    with pytest.raises(ValueError, match="dict of 'boxes'"):
        model.fit(np.zeros((1, 64, 64, 3)), np.zeros((1, 4)), verbose=0)


def test_loss_that_is_no_sum_raises():
    with pytest.raises(ValueError, match="reduction='sum'"):
        small().compile(box_loss=SmoothL1())


def test_unknown_loss_weight_raises():
    with pytest.raises(ValueError, match="mask_loss"):
        small().compile(loss_weights={"mask_loss": 1.0})


def test_dynamic_size_raises():
    with pytest.raises(ValueError, match="known height and width"):
        RetinaNet(ShuffleNetV2(0.5, include_top=False), 2)


def test_missing_level_raises():
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(64, 64, 3), output_stride=16)
    with pytest.raises(ValueError, match="P5"):
        RetinaNet(backbone, 2)
