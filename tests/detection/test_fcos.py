import keras
import numpy as np
import pytest
from colored_squares import squares
from golden import detectors

from kdl.applications import ResNet, ShuffleNetV2
from kdl.detection import FCOS, AnchorGenerator, FCOSHead, FeaturePyramid, load_torch_weights
from kdl.detection.fcos import centerness

pytestmark = pytest.mark.every_backend


def numpy(x):
    return keras.ops.convert_to_numpy(x)


class Golden:
    """torchvision's network, its weights in ours, and what both give."""

    def __init__(self):
        self.state, self.arrays, self.meta = detectors.load("fcos_resnet50_fpn")
        image = self.meta["image"]
        backbone = ResNet(50, include_top=False, input_shape=(image["height"], image["width"], 3))
        self.model = FCOS(backbone, self.meta["num_classes"])
        load_torch_weights(self.model, self.state)
        self.model.compile()
        self.images = detectors.pixels(**image)
        self.truth = detectors.truth(self.arrays)


@pytest.fixture(scope="module")
def golden():
    return Golden()


@pytest.mark.long_to_compile
def test_features_and_head_match_torchvision(golden):
    levels = golden.model.get_layer("fpn").output
    whole = keras.Model(golden.model.inputs[0], {"features": levels, **golden.model.output})
    outputs = keras.tree.map_structure(numpy, whole(golden.images, training=False))
    for level, theirs in zip(outputs["features"], (0, 1, 2, "p6", "p7"), strict=True):
        detectors.assert_close(level[..., :: 256 // 8], golden.arrays[f"feature_{theirs}"], 1e-4)
    outputs["centerness_logits"] = outputs["centerness_logits"][..., None]
    for ours, theirs in (
        ("class_logits", "cls_logits"),
        ("box_offsets", "bbox_regression"),
        ("centerness_logits", "bbox_ctrness"),
    ):
        detectors.assert_close(outputs[ours], golden.arrays[theirs], 1e-4)


@pytest.mark.long_to_compile
def test_anchors_matches_and_decoded_boxes_match_torchvision(golden):
    model, arrays = golden.model, golden.arrays
    np.testing.assert_array_equal(model.anchors, arrays["anchors"])
    decoded = numpy(model.decoder.coder.decode(arrays["bbox_regression"], model.anchors))
    detectors.assert_close(decoded[:, ::8], arrays["decoded"], 5e-5)
    boxes, labels = golden.truth["boxes"], golden.truth["labels"]
    indices, positive, _, _ = map(numpy, model.matcher(model.anchors, boxes, labels >= 0))
    for image in (0, 1):
        told = np.where(positive[image], indices[image], -1)
        np.testing.assert_array_equal(told, arrays[f"matches_{image}"])


@pytest.mark.long_to_compile
def test_detections_match_torchvision(golden):
    detectors.assert_detections_match(golden.model.predict(golden.images, verbose=0), golden.arrays)


@pytest.mark.long_to_compile
@pytest.mark.parametrize("empty", [False, True])
def test_losses_match_torchvision(golden, empty):
    truth = detectors.without_second(golden.truth, empty)
    losses = golden.model.loss_terms(truth, golden.model(golden.images, training=False))
    detectors.assert_losses_match(losses, golden.meta, empty)


@pytest.mark.long_to_compile
def test_gradient_norms_match_torchvision(golden):
    def total(images):
        outputs = golden.model(images, training=False)
        return sum(golden.model.loss_terms(golden.truth, outputs).values())

    detectors.assert_gradient_norms_match(golden.model, total, golden.images, golden.meta)


@pytest.mark.long_to_compile
def test_parameters_are_those_of_torchvision(golden):
    counted = sum(int(np.prod(w.shape)) for w in golden.model.trainable_weights)
    assert counted == golden.meta["parameters"]


def test_worked_centerness():
    boxes = np.array([[[0, 0, 8, 8], [2, 0, 10, 8], [4, 4, 6, 6]]], "float32")
    anchors = np.array([[0, 0, 8, 8]] * 3, "float32")  # the point (4, 4)
    # In the middle; l, r = 2, 6 and t, b = 4, 4; on a corner.
    expected = [[1, (2 / 6) ** 0.5, 0]]
    values = numpy(centerness(keras.ops.convert_to_tensor(boxes), anchors))
    np.testing.assert_allclose(values, expected, atol=1e-6)


def small(size=64, classes=3, **arguments):
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(size, size, 3))
    parts = {"neck": FeaturePyramid(32, extra="c5"), "head": FCOSHead(classes, 32, depth=1)}
    return FCOS(backbone, classes, **{**parts, **arguments})


@pytest.mark.long_to_compile
def test_fit_lowers_the_loss_and_tells_every_term():
    images, truth = squares()
    model = small()
    model.compile(keras.optimizers.Adam(3e-3), loss_weights={"centerness_loss": 0.5})
    history = model.fit(images, truth, batch_size=4, epochs=6, verbose=0, shuffle=False).history
    terms = [history[name] for name in ("box_loss", "class_loss", "centerness_loss")]
    expected = np.add(terms[0], terms[1]) + 0.5 * np.array(terms[2])
    np.testing.assert_allclose(history["loss"], expected, rtol=1e-4)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert model.predict(images, batch_size=4, verbose=0)["boxes"].shape == (8, 100, 4)


@pytest.mark.long_to_compile
def test_saved_detector_loads_compiled_and_gives_the_same(tmp_path):
    images, truth = squares(2)
    model = small()
    model.compile("sgd")
    model.fit(images, truth, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is FCOS
    ours, theirs = (m.predict(images, verbose=0) for m in (loaded, model))
    keras.tree.map_structure(np.testing.assert_array_equal, ours, theirs)
    before, after = (m.evaluate(images, truth, verbose=0) for m in (model, loaded))
    np.testing.assert_allclose(after, before, rtol=1e-5)


def test_several_anchors_in_a_cell_raise():
    anchors = AnchorGenerator([(8, 12)] * 5, ratios=(1.0,))
    with pytest.raises(ValueError, match="same number of anchors a cell"):
        small(anchors=anchors)


def test_centerness_loss_of_probabilities_raises():
    loss = keras.losses.BinaryCrossentropy(reduction="sum")
    with pytest.raises(ValueError, match="centerness_loss gets logits"):
        small().compile(centerness_loss=loss)


def test_head_of_odd_width_raises():
    with pytest.raises(ValueError, match="filters must be a multiple of 32; received 48"):
        FCOSHead(3, filters=48)
