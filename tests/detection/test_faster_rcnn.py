import keras
import numpy as np
import pytest
from colored_squares import squares
from golden import detectors

from kdl.applications import ResNet, ShuffleNetV2
from kdl.detection import (
    RPN,
    AnchorGenerator,
    BalancedSampler,
    BoxHead,
    DetectionSelector,
    FasterRCNN,
    FeaturePyramid,
    ROIHeads,
    load_torch_weights,
)
from kdl.losses import FocalLoss
from kdl.ops import roi_levels

pytestmark = pytest.mark.every_backend

# Above the number of anchors and proposals: all are drawn.
ALL = 10**6


def numpy(x):
    return keras.ops.convert_to_numpy(x)


class Golden:
    """torchvision's network, its weights in ours, and what both give."""

    def __init__(self, name):
        state, self.arrays, self.meta = detectors.load(name)
        image, settings = self.meta["image"], self.meta["settings"]
        size, classes = (image["height"], image["width"]), self.meta["num_classes"] - 1
        second = name.endswith("v2")
        pre, post = settings["rpn_pre_nms_per_level"], settings["rpn_post_nms"]
        head = BoxHead(classes, depth=4, units=(1024,)) if second else BoxHead(classes)
        self.model = FasterRCNN(
            ResNet(50, include_top=False, input_shape=(*size, 3)),
            classes,
            neck=FeaturePyramid(extra="pool", norm=second),
            rpn=RPN(size, depth=2 if second else 1, candidates=(pre, pre), proposals=(post, post)),
            roi_heads=ROIHeads(head),
            rpn_sampler=BalancedSampler(ALL, 1.0),
            sampler=BalancedSampler(ALL, 1.0),
            selector=DetectionSelector(settings["score"], candidates_of="class"),
        )
        load_torch_weights(self.model, state)
        self.model.compile()
        self.images = detectors.pixels(**image)
        self.truth = detectors.truth(self.arrays)
        self.truth["labels"] = np.where(self.truth["labels"] > 0, self.truth["labels"] - 1, -1)

    def features(self):
        return self.model(self.images, training=False)


@pytest.fixture(
    scope="module",
    params=[
        "fasterrcnn_resnet50_fpn",
        pytest.param("fasterrcnn_resnet50_fpn_v2", marks=pytest.mark.long),
    ],
)
def golden(request):
    golden = Golden(request.param)
    golden.outputs = keras.tree.map_structure(numpy, golden.features())
    return golden


def per_proposal(values):
    """torchvision's rows: those of image 0, then those of image 1."""
    return values.reshape(-1, *values.shape[2:])


def test_features_and_proposals_match_torchvision(golden):
    outputs, arrays = golden.outputs, golden.arrays
    for number, level in enumerate(outputs["features"]):
        detectors.assert_close(level[..., :: 256 // 8], arrays[f"feature_{number}"], 1e-4)
    rpn = golden.model.rpn
    np.testing.assert_array_equal(rpn.boxes, arrays["anchors"])
    detectors.assert_close(outputs["objectness"], arrays["objectness"], 1e-4)
    detectors.assert_close(outputs["rpn_offsets"], arrays["rpn_deltas"], 1e-4)
    boxes, scores = map(numpy, rpn.propose(arrays["objectness"], arrays["rpn_deltas"]))
    decoded = numpy(rpn.coder.decode(arrays["rpn_deltas"], rpn.boxes))
    detectors.assert_close(decoded[:, ::8], arrays["rpn_boxes"], 1e-4)
    for image in (0, 1):
        expected = arrays[f"proposal_scores_{image}"]
        np.testing.assert_allclose(scores[image], expected, atol=1e-5)
        np.testing.assert_allclose(boxes[image], arrays[f"proposals_{image}"], atol=0.02)


def test_heads_of_stored_proposals_match_torchvision(golden):
    arrays = golden.arrays
    proposals = np.stack([arrays["proposals_0"], arrays["proposals_1"]])
    np.testing.assert_array_equal(per_proposal(numpy(roi_levels(proposals))), arrays["roi_levels"])
    heads = golden.model.roi_heads
    found = heads(golden.outputs["features"], proposals, training=False)
    logits = per_proposal(numpy(found["class_logits"]))
    detectors.assert_close(logits, arrays["class_logits"], 1e-3)
    deltas = arrays["box_deltas"].reshape(len(logits), -1, 4)[:, 1:]
    detectors.assert_close(per_proposal(numpy(found["box_offsets"])), deltas, 1e-3)


def test_detections_match_torchvision(golden):
    found = golden.model.predict(golden.images, verbose=0)
    arrays = {k: x - 1 if k.startswith("labels") else x for k, x in golden.arrays.items()}
    detectors.assert_detections_match(found, arrays)


def test_targets_match_torchvision(golden):
    arrays = golden.arrays
    indices, positive, valid, _ = map(
        numpy,
        golden.model._aside.parts["rpn_matcher"](
            golden.model.rpn.boxes, golden.truth["boxes"], golden.truth["labels"] >= 0
        ),
    )
    told = np.where(positive, indices, np.where(valid, -1, -2))
    for image in (0, 1):
        np.testing.assert_array_equal(told[image], arrays[f"matches_{image}"])


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
    return FasterRCNN(
        backbone,
        classes,
        neck=FeaturePyramid(16, "pool"),
        rpn=RPN((size, size), anchors, filters=16, candidates=(100, 50), proposals=(60, 30)),
        roi_heads=ROIHeads(BoxHead(classes, units=(32,))),
        sampler=BalancedSampler(24, 0.25),
        seed=1,
    )


@pytest.mark.long_to_compile
def test_fit_lowers_the_loss_and_a_saved_detector_gives_the_same(tmp_path):
    images, truth = squares()
    model = small()
    model.compile(keras.optimizers.Adam(2e-3))
    history = model.fit(images, truth, batch_size=4, epochs=8, verbose=0, shuffle=False).history
    terms = [history[name] for name in model.losses_of_terms]
    np.testing.assert_allclose(history["loss"], np.sum(terms, 0), rtol=1e-4)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is FasterRCNN
    ours, theirs = (m.predict(images, verbose=0) for m in (loaded, model))
    keras.tree.map_structure(np.testing.assert_array_equal, ours, theirs)
    assert loaded.evaluate(images, truth, verbose=0, return_dict=True).keys() == {
        "loss",
        *model.losses_of_terms,
    }


def test_boxes_keep_their_precision_where_features_are_halved():
    """bfloat16 has no number between 700 and 704."""
    ramp = np.broadcast_to(np.arange(256, dtype="float32")[:, None], (1, 4, 256, 1))
    boxes = np.array([[[701.0, 0, 717, 16]]], "float32")
    heads = [BoxHead(2, strides=(4,), units=(), dtype=d) for d in ("float32", "mixed_bfloat16")]
    exact, halved = (numpy(keras.ops.cast(h._pool([ramp], boxes), "float32")) for h in heads)
    assert np.abs(halved - exact).max() <= 0.5  # half a step of the features' own rounding
    given = []
    heads[1]._pool = lambda features, boxes: given.append(boxes) or keras.ops.zeros((1, 7, 7, 1))
    heads[1]([ramp], boxes)
    assert numpy(given[-1])[0, 0, 0] == 701


def test_strides_of_other_features_raise():
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(64, 64, 3))
    heads = ROIHeads(BoxHead(2, strides=(4, 8, 16)))
    with pytest.raises(ValueError, match=r"features are of \[\(8, 8\), \(4, 4\), \(2, 2\)\] cells"):
        FasterRCNN(
            backbone,
            2,
            levels=("P3", "P4", "P5"),
            neck=FeaturePyramid(16, "pool"),
            roi_heads=heads,
            rpn=RPN((64, 64), AnchorGenerator([(s,) for s in (16, 32, 48, 64)]), filters=16),
        )


def test_default_anchors_stand_on_their_features_at_any_size():
    rpn = RPN((100, 76))
    grids = [(25, 19), (13, 10), (7, 5), (4, 3), (2, 2)]
    boxes = rpn.anchors.placed(rpn.image_size, grids)
    last = boxes[25 * 19 * 3 - 1]
    np.testing.assert_allclose((last[:2] + last[2:]) / 2, (18 * 4, 24 * 4))


@pytest.mark.long_to_compile
def test_channels_first_gives_what_channels_last_gives():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow convolves channels first on accelerators alone")

    def made(data_format):
        shape = (64, 64, 3) if data_format == "channels_last" else (3, 64, 64)
        common = {"data_format": data_format}
        anchors = AnchorGenerator([(12,), (18,), (24,), (36,), (48,)])
        return FasterRCNN(
            ShuffleNetV2(0.5, include_top=False, input_shape=shape, **common),
            3,
            neck=FeaturePyramid(16, "pool", **common),
            rpn=RPN((64, 64), anchors, filters=16, proposals=(60, 30), **common),
            roi_heads=ROIHeads(BoxHead(3, units=(32,), **common), **common),
        )

    images, _ = squares(2)
    last, first = made("channels_last"), made("channels_first")
    first.set_weights(last.get_weights())
    expected = last(images, training=False)["class_logits"]
    found = first(images.transpose(0, 3, 1, 2), training=False)["class_logits"]
    np.testing.assert_allclose(numpy(found), numpy(expected), atol=1e-4)


def test_class_loss_of_other_columns_raises():
    focal = FocalLoss(from_logits=True, reduction="sum")
    with pytest.raises(ValueError, match="activation='softmax'"):
        small().compile(class_loss=focal)
