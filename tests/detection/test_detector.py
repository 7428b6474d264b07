"""What all detectors share, by the smallest of them."""

import keras
import numpy as np
import pytest

from kdl.applications import ShuffleNetV2
from kdl.data import DetectionDataset, RandomHorizontalFlip, digit_scenes
from kdl.detection import SSD, DefaultBoxes, SSDExtras, SSDHead
from kdl.graph import copy_model
from kdl.layers import SyncBatchNormalization, convert_sync_batch_norm
from kdl.losses import FocalLoss, HardNegativeMining, RepulsionLoss
from kdl.metrics import CocoMeanAveragePrecision
from kdl.training import HostEvaluation
from kdl.training.distribution.synchronized_step import summed_losses

SIZE = 48


def detector(classes=10, **arguments):
    backbone = ShuffleNetV2(0.5, include_top=False, input_shape=(SIZE, SIZE, 1))
    boxes = DefaultBoxes([0.2, 0.35, 0.5, 0.7], [(2,)] * 3)
    return SSD(
        backbone,
        classes,
        neck=SSDExtras([(16, 32)]),
        head=SSDHead(classes, boxes.per_cell),
        anchors=boxes,
        **arguments,
    )


def scenes(count=6, **arguments):
    return digit_scenes(count, SIZE, clutter=2, digits_per_scene=(1, 3), **arguments)


@pytest.mark.every_backend
@pytest.mark.long_to_compile
def test_fit_on_a_data_set_logs_average_precision_and_leaves_ignored_objects_out():
    train = DetectionDataset(scenes(), batch_size=3, augmentation=[RandomHorizontalFlip()])
    test = scenes(4, split="test")
    model = detector()
    model.compile(keras.optimizers.Adam(1e-3))
    evaluation = HostEvaluation(test, CocoMeanAveragePrecision(), batch_size=2)
    logs = model.fit(train, epochs=2, verbose=0, callbacks=[evaluation]).history
    assert {"loss", "box_loss", "class_loss", "val_AP", "val_AP50"} <= logs.keys()
    assert np.isfinite(logs["loss"]).all()
    images, truth = scenes(2)
    some = model.evaluate(images, truth, verbose=0)[0]
    truth["ignore"] = truth["labels"] >= 0
    assert model.evaluate(images, truth, verbose=0)[0] != some


def test_sample_weight_is_that_of_an_image():
    images, truth = scenes(2)
    model = detector()
    model.compile()
    outputs = model(images)
    both, first, second = (
        model.loss_terms(truth, outputs, np.float32(weight)) for weight in ([1, 1], [1, 0], [0, 1])
    )
    for name, total in both.items():
        parts = [keras.ops.convert_to_numpy(part[name]) for part in (first, second)]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(total), sum(parts), rtol=1e-4)


def test_weights_given_to_fit_are_those_of_images():
    images, truth = scenes(2)
    model = detector()
    model.compile(keras.optimizers.SGD(0.0))
    whole = model.evaluate(images, truth, verbose=0)[0]
    weights = np.float32([1, 0])
    part = model.evaluate(images, truth, sample_weight=weights, verbose=0)[0]
    logs = model.fit(images, truth, sample_weight=weights, verbose=0).history
    assert part < whole
    assert np.isfinite(logs["loss"]).all()


def test_eager_predict_is_what_compile_asks_for():
    model = detector()
    images, _ = scenes(1)
    model.predict(images, verbose=0)
    model.compile(run_eagerly=True)
    model.predict(images, verbose=0)
    assert model._aside.predictor.run_eagerly


def test_batch_without_objects_has_a_finite_loss():
    images, truth = scenes(2)
    truth["labels"] = np.full_like(truth["labels"], -1)
    focal = FocalLoss(
        from_logits=True,
        activation="softmax",
        background_class=0,
        normalize_by_positives=True,
        reduction="sum",
    )
    model = detector()
    model.compile(class_loss=focal)
    terms = model.loss_terms(truth, model(images))
    assert keras.ops.convert_to_numpy(terms["box_loss"]) == 0
    assert 0 < keras.ops.convert_to_numpy(terms["class_loss"]) < np.inf


def test_repulsion_loss_gets_all_truths():
    images, truth = scenes(2, crowding=0.5)
    model = detector()
    model.compile("sgd", box_loss=RepulsionLoss())
    logs = model.fit(images, truth, verbose=0).history
    assert logs["box_loss"][0] > 0


def test_copy_and_synchronized_norms_give_the_same_and_stay(tmp_path):
    images, _ = scenes(2)
    model = detector()
    expected = model.predict(images, verbose=0)
    copy = convert_sync_batch_norm(copy_model(model))
    assert type(copy) is SSD
    copy.save(tmp_path / "model.keras")
    for other in (copy, keras.models.load_model(tmp_path / "model.keras")):
        norms = [x for x in other._flatten_layers() if isinstance(x, SyncBatchNormalization)]
        assert len(norms) > 10
        for key, values in other.predict(images, verbose=0).items():
            np.testing.assert_allclose(values, expected[key], atol=1e-4)


def test_frozen_backbone_stays_frozen(tmp_path):
    model = detector()
    for layer in model.layers:
        layer.trainable = layer.name in ("extras", "head")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [w.path for w in loaded.trainable_weights] == [w.path for w in model.trainable_weights]


def test_mixed_precision_gives_losses_and_detections_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = detector()
        model.compile("sgd")
        images, truth = scenes(2)
        logs = model.fit(images, truth, verbose=0).history
        assert np.isfinite(logs["loss"]).all()
        found = model.predict(images, verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert found["boxes"].dtype == found["scores"].dtype == np.float32


def test_channels_first_gives_what_channels_last_gives():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow convolves channels first on accelerators alone")
    images, _ = scenes(2)
    model = detector()
    other = ShuffleNetV2(
        0.5, include_top=False, input_shape=(1, SIZE, SIZE), data_format="channels_first"
    )
    boxes = model.decoder.anchors
    first = {"data_format": "channels_first"}
    other = SSD(
        other,
        10,
        neck=SSDExtras([(16, 32)], **first),
        head=SSDHead(10, boxes.per_cell, **first),
        anchors=boxes,
    )
    other.set_weights(model.get_weights())
    expected = model.predict(images, verbose=0)
    found = other.predict(images.transpose(0, 3, 1, 2), verbose=0)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            FocalLoss(from_logits=True, normalize_by_positives=True, reduction="sum"),
            "activation='softmax'",
        ),
        (HardNegativeMining(normalize_by_positives=False), "normalize_by_positives=True"),
        (HardNegativeMining(background_class=3), "background_class=0"),
        (FocalLoss(activation="softmax", reduction="sum"), "from_logits=True"),
    ],
)
def test_class_loss_of_other_columns_raises(loss, message):
    with pytest.raises(ValueError, match=message):
        detector().compile(class_loss=loss)


def test_repulsion_loss_of_offsets_raises():
    with pytest.raises(ValueError, match="variances=None"):
        detector().compile(box_loss=RepulsionLoss(variances=(0.1, 0.1, 0.2, 0.2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([[10]])}, "from 0 to 9"),
        ({"boxes": np.array([[[30.0, 30, 10, 10]]])}, "convert_format"),
        ({"boxes": np.array([[[0.1, 0.1, 0.5, 0.5]]])}, "in pixels"),
        ({"boxes": np.zeros((1, 2, 4))}, "Expected boxes"),
    ],
)
def test_truth_that_is_no_detectors_raises_before_training(change, message):
    model = detector()
    model.compile()
    truth = {"boxes": np.array([[[4.0, 4, 20, 20]]]), "labels": np.array([[0]])}
    with pytest.raises(ValueError, match=message):
        model.fit(np.zeros((1, SIZE, SIZE, 1)), {**truth, **change}, verbose=0)


def test_data_of_more_classes_raises():
    data = DetectionDataset(scenes(2), class_names=[*"abcdefghij"])
    model = detector(classes=4)
    model.compile()
    with pytest.raises(ValueError, match="10 classes, the detector has 4"):
        model.fit(data, verbose=0)


def test_float16_layers_get_a_loss_scale():
    backbone = ShuffleNetV2(
        0.5, include_top=False, input_shape=(SIZE, SIZE, 1), dtype="mixed_float16"
    )
    model = SSD(backbone, 3)
    model.compile("sgd")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.compile("sgd", auto_scale_loss=False)
    assert isinstance(model.optimizer, keras.optimizers.SGD)


def test_sums_are_known_to_what_joins_processes():
    model = detector()
    model.compile()
    names = {type(loss).__name__ for loss in summed_losses(model)}
    assert names == {"SmoothL1", "HardNegativeMining"}
