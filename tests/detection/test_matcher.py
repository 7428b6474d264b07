import json

import keras
import numpy as np
import pytest

from kdl.detection import Matcher

pytestmark = pytest.mark.every_backend


@pytest.fixture(scope="module")
def golden(root):
    return np.load(root / "tests" / "golden" / "detection" / "ops_matching.npz")


def told(matches, image=0):
    """As the golden file does: the place of the truth, −1 for background, −2 for left out."""
    indices, positive, valid, _ = (keras.ops.convert_to_numpy(x)[image] for x in matches)
    return np.where(positive, indices, np.where(valid, -1, -2))


@pytest.mark.parametrize(
    ("key", "matcher"),
    [
        ("retinanet", Matcher(0.5, 0.4, "ties")),
        ("rpn", Matcher(0.7, 0.3, "ties")),
        ("roi", Matcher(0.5)),
        ("ssd_argmax", Matcher(0.5, force="argmax")),
        ("ssd_bipartite", Matcher(0.5, force="bipartite")),
    ],
)
def test_matches_are_those_of_the_references(key, matcher, golden):
    matches = matcher(golden["anchors"], golden["truth"][None])
    np.testing.assert_array_equal(told(matches), golden[key])


@pytest.mark.parametrize(
    ("key", "matcher"),
    [
        ("max_iou_rpn", Matcher(0.7, 0.3, "overwrite", 0.3)),
        ("max_iou_roi_low", Matcher(0.5, force="overwrite", least_iou=0.5)),
        ("max_iou_roi", Matcher(0.5)),
    ],
)
def test_matches_are_those_of_mmdetection(key, matcher, golden):
    matches = matcher(golden["anchors"], golden["truth"][None])
    values = told(matches)  # there a truth's place + 1, background 0, left out −1
    np.testing.assert_array_equal(np.where(values == -2, -1, values + 1), golden[key])


def test_a_truth_without_any_overlap_changes_nothing(golden):
    matches = Matcher(0.5, 0.4, "ties")(golden["anchors"], golden["far_truth"][None])
    np.testing.assert_array_equal(told(matches), golden["retinanet"])


def test_padded_truth_and_images_without_any(golden):
    anchors, truth = golden["anchors"], golden["truth"]
    boxes = np.stack([np.concatenate([truth, truth[:2] + 3]), np.zeros((9, 4), "float32")])
    exists = np.arange(9) < np.array([[7], [0]])
    for force, key in (("ties", "retinanet"), ("bipartite", None)):
        matches = Matcher(0.5, 0.4, force)(anchors, boxes, exists)
        assert (told(matches, 1) == -1).all()
        if key:
            np.testing.assert_array_equal(told(matches), golden[key])
    assert (told(Matcher(force="argmax")(anchors, boxes[:, :0])) == -1).all()


@pytest.mark.parametrize("kind", ["conflict", "crowd"])
@pytest.mark.parametrize("force", ["argmax", "bipartite"])
def test_truths_that_fight_for_an_anchor(kind, force, golden):
    iou = golden[f"{kind}_iou"]
    matches = Matcher(force=force)._match(keras.ops.convert_to_tensor(iou[None]))
    np.testing.assert_array_equal(told(matches), golden[f"{kind}_{force}"])


def test_a_later_truth_overwrites(golden):
    iou = keras.ops.convert_to_tensor(golden["overwrite_iou"][None])
    low = told(Matcher(force="overwrite", least_iou=0.5)._match(iou))
    np.testing.assert_array_equal(low + 1, golden["overwrite_max_iou_low"])
    np.testing.assert_array_equal(told(Matcher()._match(iou)) + 1, golden["overwrite_max_iou"])


def test_a_pair_at_the_least_iou_is_forced():
    iou = keras.ops.convert_to_tensor(np.float32([[[0.25, 0.1]]]))
    for force in ("bipartite", "argmax", "ties", "overwrite"):
        assert told(Matcher(force=force, least_iou=0.25)._match(iou)).tolist() == [0, -1]
        assert told(Matcher(force=force, least_iou=0.26)._match(iou)).tolist() == [-1, -1]


def test_config_and_bad_arguments():
    matcher = Matcher(0.7, 0.3, "ties", 0.1)
    text = json.dumps(keras.saving.serialize_keras_object(matcher))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    assert copy.get_config() == matcher.get_config()
    with pytest.raises(ValueError, match="force must be one of None, 'ties'"):
        Matcher(force="all")
    with pytest.raises(ValueError, match="0 ≤ negative_threshold ≤ positive_threshold"):
        Matcher(0.3, 0.7)
