"""kdl's backbones in the detectors of Keras Hub and Keras CV."""

import importlib
import warnings

import keras
import numpy as np
import pytest

from kdl.applications import ShuffleNetV2

pytestmark = pytest.mark.tensorflow

SIZE, CLASSES = 128, 3


def imported(name):
    """The library, whose own imports warn of what other libraries deprecate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@pytest.fixture
def backbone():
    return ShuffleNetV2(0.5, include_top=False, input_shape=(SIZE, SIZE, 3))


def images():
    return np.random.default_rng(0).uniform(0, 1, (2, SIZE, SIZE, 3)).astype("float32")


def check_a_step_trains_the_backbone(model, backbone, targets):
    kernel = backbone.get_layer("stem_conv").kernel
    before = keras.ops.convert_to_numpy(kernel).copy()
    history = model.fit(images(), targets, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"][0])
    assert np.abs(keras.ops.convert_to_numpy(kernel) - before).max() > 0


@pytest.mark.filterwarnings("ignore")
def test_retinanet_of_keras_hub(backbone):
    hub = imported("keras_hub")
    detector = hub.models.RetinaNetObjectDetector(
        hub.models.RetinaNetBackbone(
            backbone, min_level=3, max_level=7, use_p5=False, image_shape=(SIZE, SIZE, 3)
        ),
        CLASSES,
        bounding_box_format="xyxy",
    )
    detector.compile("sgd", box_loss="auto", classification_loss="auto")
    boxes = {
        "boxes": np.float32([[[10, 10, 60, 60]], [[20, 30, 90, 80]]]),
        "labels": np.float32([[1], [2]]),
    }
    check_a_step_trains_the_backbone(detector, backbone, boxes)


@pytest.mark.filterwarnings("ignore")
def test_retinanet_of_keras_cv(backbone):
    cv = imported("keras_cv")
    detector = cv.models.RetinaNet(
        num_classes=CLASSES, bounding_box_format="xyxy", backbone=backbone
    )
    detector.compile(optimizer="sgd", box_loss="smoothl1", classification_loss="focal")
    boxes = {
        "boxes": np.float32([[[10, 10, 60, 60]], [[20, 30, 90, 80]]]),
        "classes": np.float32([[1], [2]]),
    }
    check_a_step_trains_the_backbone(detector, backbone, boxes)
