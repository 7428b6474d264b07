import keras
import numpy as np
import pytest
from golden import detectors

from kdl.applications import ShuffleNetV2
from kdl.detection import (
    SSD,
    SSD300,
    SSD512,
    DefaultBoxes,
    Matcher,
    SSDLite320,
    load_torch_weights,
)
from kdl.losses import HardNegativeMining

pytestmark = pytest.mark.every_backend


def numpy(x):
    return keras.ops.convert_to_numpy(x)


class Golden:
    """torchvision's network, its weights in ours, and what both give."""

    def __init__(self, name):
        state, self.arrays, self.meta = detectors.load(name)
        self.model = NETWORKS[name](self.meta["num_classes"] - 1)
        load_torch_weights(self.model, state)
        self.model.compile()
        self.images = detectors.pixels(**self.meta["image"])
        self.truth = detectors.truth(self.arrays)
        self.truth["labels"] = np.where(self.truth["labels"] > 0, self.truth["labels"] - 1, -1)


def ssd300(classes):
    """The paper's network with what torchvision does otherwise: boxes clipped, best by argmax."""
    model = SSD300(classes)
    config, anchors = model.get_config(), model.decoder.anchors
    config["anchors"] = DefaultBoxes(anchors.scales, anchors.ratios, anchors.strides, clip=True)
    config["matcher"] = Matcher(0.5, force="argmax")
    return SSD.from_config(config)


def ssdlite320(classes):
    return SSDLite320(classes, matcher=Matcher(0.5, force="argmax"))


NETWORKS = {"ssd300_vgg16": ssd300, "ssdlite320_mobilenet_v3_large": ssdlite320}


@pytest.fixture(scope="module", params=NETWORKS)
def golden(request):
    return Golden(request.param)


@pytest.mark.long_to_compile
def test_features_and_head_match_torchvision(golden):
    levels = golden.model.get_layer("extras").output
    whole = keras.Model(golden.model.inputs[0], {"features": levels, **golden.model.output})
    outputs = keras.tree.map_structure(numpy, whole(golden.images, training=False))
    for number, level in enumerate(outputs["features"]):
        expected = golden.arrays[f"feature_{number}"]
        detectors.assert_close(level[..., :: level.shape[-1] // 8], expected, 5e-4)
    detectors.assert_close(outputs["class_logits"], golden.arrays["cls_logits"], 5e-4)
    detectors.assert_close(outputs["box_offsets"], golden.arrays["bbox_regression"], 5e-4)


@pytest.mark.long_to_compile
def test_anchors_matches_and_decoded_boxes_match_torchvision(golden):
    model, arrays = golden.model, golden.arrays
    side = golden.meta["image"]["height"]
    np.testing.assert_allclose(model.anchors, arrays["anchors"], atol=2e-6 * side)
    decoded = numpy(model.decoder.coder.decode(arrays["bbox_regression"], model.anchors))
    detectors.assert_close(decoded[:, ::8], arrays["decoded"], 5e-5)
    boxes, labels = golden.truth["boxes"], golden.truth["labels"]
    indices, positive, _, _ = map(numpy, model.matcher(model.anchors, boxes, labels >= 0))
    for image in (0, 1):
        told = np.where(positive[image], indices[image], -1)
        np.testing.assert_array_equal(told, arrays[f"matches_{image}"])


@pytest.mark.long_to_compile
def test_mined_negatives_match_torchvision(golden):
    targets = golden.model.targets(golden.truth)
    labels = {key: getattr(targets, key) for key in ("labels", "positive", "valid")}
    values = HardNegativeMining(reduction="none")(labels, golden.arrays["cls_logits"])
    mined = (numpy(values) > 0) & ~numpy(targets.positive)
    for image in (0, 1):
        expected = np.sort(golden.arrays[f"mined_{image}"])
        np.testing.assert_array_equal(np.flatnonzero(mined[image]), expected)


@pytest.mark.long_to_compile
def test_detections_match_torchvision(golden):
    detectors.assert_detections_match(
        golden.model.predict(golden.images, verbose=0), one_less(golden.arrays)
    )


def one_less(arrays):
    """Labels without background."""
    return {key: x - 1 if key.startswith("labels") else x for key, x in arrays.items()}


@pytest.mark.long_to_compile
@pytest.mark.parametrize("empty", [False, True])
def test_losses_match_torchvision(golden, empty):
    truth = detectors.without_second(golden.truth, empty)
    outputs = golden.model(golden.images, training=False)
    losses = golden.model.loss_terms(truth, outputs, None)
    detectors.assert_losses_match(losses, golden.meta, empty)


@pytest.mark.long_to_compile
def test_gradient_norms_match_torchvision(golden):
    def total(images):
        outputs = golden.model(images, training=False)
        return sum(golden.model.loss_terms(golden.truth, outputs, None).values())

    detectors.assert_gradient_norms_match(golden.model, total, golden.images, golden.meta)


@pytest.fixture
def no_values():
    """Weights get shapes but no values, which take most of the time of building a model."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()


@pytest.mark.long_to_compile
@pytest.mark.parametrize(
    ("build", "boxes", "parameters"),
    [(SSD300, 8732, 35_641_826), (SSD512, 24564, None), (SSDLite320, 3234, 3_440_060)],
)
def test_networks_have_the_published_size(build, boxes, parameters, no_values):
    model = build(90)
    assert {key: x.shape for key, x in model.output.items()} == {
        "box_offsets": (None, boxes, 4),
        "class_logits": (None, boxes, 91),
    }
    if parameters:
        assert sum(np.prod(w.shape) for w in model.trainable_weights) == parameters


@pytest.mark.long_to_compile
def test_ssdlite_learns_on_any_backbone():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 0.2, (8, 64, 64, 3)).astype("float32")
    boxes, labels = np.zeros((8, 1, 4), "float32"), np.zeros((8, 1), int)
    for number, (left, top) in enumerate(rng.integers(0, 40, (8, 2))):
        boxes[number] = left, top, left + 20, top + 20
        images[number, top : top + 20, left : left + 20] = 1
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(64, 64, 3))
    model = SSD(backbone, 1)
    model.compile(keras.optimizers.Adam(3e-3))
    truth = {"boxes": boxes, "labels": labels}
    losses = model.fit(images, truth, batch_size=4, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert model.predict(images, verbose=0)["labels"].shape == (8, 300)
