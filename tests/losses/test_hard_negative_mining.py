from typing import NamedTuple

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.losses import HardNegativeMining, focal_loss, hard_negative_mining
from kdl.testing import run_loss_test
from kdl.testing._gradients import gradients

LOGITS = np.array(
    [[[2, 0, 0], [1, 1, 0], [0.5, 0, 0], [3, 0, 0]] + [[0, 2, 0], [0, 0, 1], [4, 0, 0], [1, 0, 2]]],
    "float32",
)
LABELS = np.array([[0, 1, 0, 0, 0, 0, 0, 0]])
CROSS_ENTROPY = [0.239545, 0.861995, 0.794377, 0.094923, 2.239545, 1.551445, 0.035976, 1.407606]


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def rows(labels, classes):
    return np.eye(classes, dtype="float32")[labels]


def cross_entropy(labels, logits):
    logits = logits.astype("float64")
    totals = np.log(np.exp(logits).sum(-1))
    return totals - np.take_along_axis(logits, labels[..., None], -1)[..., 0]


def definition(labels, scores, losses, ratio, least=0, ignored=None):
    """Image by image, by the rank of a stable sort."""
    values = np.zeros(labels.shape)
    positives = [(row != 0) & (row != ignored) for row in labels]
    for row, positive, score, item, value in zip(
        labels, positives, scores, losses, values, strict=True
    ):
        negative = np.where(row == 0, score, -np.inf)
        rank = np.argsort(np.argsort(-negative, kind="stable"), kind="stable")
        taken = positive | ((row == 0) & (rank < max(int(ratio * positive.sum()), least)))
        value[taken] = item[taken]
    return values / max(np.sum(positives), 1)


def test_worked_numbers():
    values = numpy(hard_negative_mining(LABELS, LOGITS))[0]
    expected = np.where(np.isin(np.arange(8), [1, 4, 5, 7]), CROSS_ENTROPY, 0)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    total = float(HardNegativeMining()(LABELS, LOGITS))
    assert total == pytest.approx(6.060590, abs=1e-6)
    everything = numpy(hard_negative_mining(LABELS, LOGITS, ratio=9))[0]
    np.testing.assert_allclose(everything, CROSS_ENTROPY, atol=1e-6)


def random_case(seed=0, anchors=40):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 0, 0, 0, 0, 0, 1, 2, 3, -1], (4, anchors))
    labels[1] = 0  # no positives
    labels[2] = 1  # no negatives
    labels[3] = -1  # nothing known
    return labels, rng.normal(size=(4, anchors, 4)).astype("float32")


@pytest.mark.parametrize("arguments", [{}, {"ratio": 1.5}, {"ratio": 0}, {"minimum_negatives": 7}])
def test_definition_on_random_images(arguments):
    labels, logits = random_case()
    losses = cross_entropy(np.maximum(labels, 0), logits)
    results = numpy(hard_negative_mining(labels, logits, ignore_class=-1, **arguments))
    least = arguments.get("minimum_negatives", 0)
    expected = definition(labels, losses, losses, arguments.get("ratio", 3), least, ignored=-1)
    np.testing.assert_allclose(results, expected, rtol=1e-5, atol=1e-7)
    assert (results[1] > 0).sum() == least
    assert not results[3].any()


def test_rows_of_labels_with_ignored_ones():
    labels, logits = random_case()
    targets = np.where(labels[..., None] < 0, -1.0, rows(np.maximum(labels, 0), 4))
    results = numpy(hard_negative_mining(targets.astype("float32"), logits))
    expected = numpy(hard_negative_mining(labels, logits, ignore_class=-1))
    np.testing.assert_allclose(results, expected, rtol=1e-5, atol=1e-7)


def test_background_at_another_place():
    labels, logits = random_case()
    labels = np.maximum(labels, 0)
    moved = numpy(
        hard_negative_mining((labels + 3) % 4, np.roll(logits, 3, -1), background_class=3)
    )
    expected = numpy(hard_negative_mining(labels, logits))
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-7)


def squared(y_true, y_pred):
    return keras.ops.sum(keras.ops.square(y_true - y_pred), -1)


@pytest.mark.parametrize("score", ["loss", "background"])
def test_another_loss_and_score(score):
    labels, logits = random_case()
    labels = np.maximum(labels, 0)
    losses = ((rows(labels, 4) - logits.astype("float64")) ** 2).sum(-1)
    scores = losses if score == "loss" else cross_entropy(np.zeros_like(labels), logits)
    results = numpy(hard_negative_mining(rows(labels, 4), logits, loss=squared, score=score))
    np.testing.assert_allclose(results, definition(labels, scores, losses, 3), rtol=1e-5, atol=1e-6)


def test_equal_scores_choose_the_first():
    labels = np.array([[0, 0, 1, 0, 0, 0, 0]])
    results = numpy(hard_negative_mining(labels, np.zeros((1, 7, 2), "float32"), ratio=2))[0]
    assert list(results > 0) == [True, True, True, False, False, False, False]


@settings(max_examples=25)
@given(
    labels=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    scores=st.lists(st.integers(-3, 3), min_size=6, max_size=6),
    ratio=st.integers(0, 4),
)
def test_properties(labels, scores, ratio):
    """Counts are exact with equal scores too, and no negative left out is harder than one in."""
    labels = np.array([labels])
    logits = np.zeros((1, 6, 3), "float32")
    logits[0, :, 0] = scores
    options = {"normalize_by_positives": False}
    results = numpy(hard_negative_mining(labels, logits, ratio=ratio, **options))[0]
    negative = labels[0] == 0
    positives = (~negative).sum()
    assert (results[~negative] > 0).all()
    assert (results[negative] > 0).sum() == min(ratio * positives, negative.sum())
    taken, left = results[negative & (results > 0)], negative & (results == 0)
    if len(taken) and left.any():
        losses = numpy(hard_negative_mining(labels, logits, ratio=6, **options))[0]
        assert taken.min() >= losses[left].max()


def test_gradient_of_uncounted_anchors_is_zero():
    _, (gradient,) = gradients(lambda z: hard_negative_mining(LABELS, z), [], LOGITS)
    assert list(np.abs(gradient[0]).sum(-1) > 0) == [
        False,
        True,
        False,
        False,
        True,
        True,
        False,
        True,
    ]


LABELS_OF_TWO = np.concatenate([LABELS, [[2, 0, 0, 1, 0, -1, 0, 0]]])
LOGITS_OF_TWO = np.concatenate([LOGITS, LOGITS[:, ::-1]])


def test_contracts_of_a_loss():
    huge = LOGITS_OF_TWO * 1e4
    run_loss_test(
        HardNegativeMining,
        {"ratio": 1, "ignore_class": -1, "minimum_negatives": 2, "normalize_by_positives": False},
        LABELS_OF_TWO,
        LOGITS_OF_TWO,
        function=hard_negative_mining,
        edge_cases=[
            (np.zeros_like(LABELS_OF_TWO), LOGITS_OF_TWO),
            (np.full_like(LABELS_OF_TWO, -1), LOGITS_OF_TWO),
            (np.ones_like(LABELS_OF_TWO), LOGITS_OF_TWO),
            (LABELS_OF_TWO, np.zeros_like(LOGITS_OF_TWO)),
            (LABELS_OF_TWO, huge),
        ],
    )


@pytest.mark.parametrize(
    "loss",
    [
        keras.losses.CategoricalFocalCrossentropy(from_logits=True, reduction="none"),
        keras.losses.categorical_hinge,
    ],
)
def test_contracts_around_another_loss(loss):
    labels = np.maximum(LABELS_OF_TWO, 0)
    run_loss_test(
        HardNegativeMining,
        {"loss": loss, "score": "background"},
        rows(labels, 3),
        LOGITS_OF_TWO,
        function=hard_negative_mining,
    )


def test_saved_with_the_loss_inside(tmp_path):
    inputs = keras.Input((8, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    inner = keras.losses.CategoricalFocalCrossentropy(gamma=1.5, from_logits=True, reduction="none")
    model.compile("sgd", HardNegativeMining(inner, ratio=2))
    targets = rows(np.maximum(LABELS_OF_TWO, 0), 3)
    value = model.evaluate(LOGITS_OF_TWO, targets, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.loss.gamma == 1.5
    assert loaded.evaluate(LOGITS_OF_TWO, targets, verbose=0) == value > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": -1}, "ratio and minimum_negatives must not be negative"),
        ({"minimum_negatives": -1}, "ratio and minimum_negatives must not be negative"),
        ({"score": "rank"}, "score must be one of"),
        ({"loss": 3}, "loss must be a function or a Keras loss"),
        ({"loss": keras.losses.MeanSquaredError()}, 'make it with reduction="none"'),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardNegativeMining(**arguments)


def test_bad_shapes():
    for labels, logits in (((2, 8), (2, 7, 3)), ((2, 8), (2, 8)), ((2, 8, 2), (2, 8, 3))):
        with pytest.raises(ValueError, match="y_true must be"):
            hard_negative_mining(np.zeros(labels, "int32"), np.zeros(logits, "float32"))
    with pytest.raises(ValueError, match="loss must give one value an anchor"):
        hard_negative_mining(rows(LABELS, 3), LOGITS, loss=lambda a, b: keras.ops.square(a - b))


def of_labels(y_true, y_pred):
    """A loss of labels from 1, whose background has no score."""
    return keras.ops.cast(y_true, "float32") * y_pred[..., 0]


@pytest.mark.parametrize(
    ("label", "arguments", "message"),
    [
        (3, {}, "whole numbers from 0 to 2; received 3"),
        (-1, {"ignore_class": -2}, "whole numbers from 0 to 2, or -2; received -1"),
        (0.5, {}, "whole numbers from 0 to 2; received 0.5"),
        (-1, {"loss": of_labels}, "whole numbers from 0; received -1"),
        (
            -1,
            {"loss": of_labels, "background_class": -2, "ignore_class": -3},
            "whole numbers from 0, or -3, or -2; received -1",
        ),
        (0.5, {"loss": of_labels, "ignore_class": 255}, "whole numbers from 0; received 0.5"),
        (float("nan"), {"loss": of_labels}, "whole numbers from 0; received nan"),
    ],
)
def test_bad_labels(label, arguments, message):
    labels = np.where(LABELS == 1, label, LABELS).astype("float32")
    for shape in ((1, 8), (1, 8, 1)):
        with pytest.raises(ValueError, match=f"y_true must be {message}"):
            hard_negative_mining(labels.reshape(shape), LOGITS, **arguments)


@pytest.mark.parametrize(
    ("label", "arguments"),
    [
        (3, {}),
        (-1, {"background_class": -1}),
        (-1, {"ignore_class": -1}),
        (255, {"ignore_class": 255}),
    ],
)
def test_labels_of_another_loss(label, arguments):
    labels = np.where(LABELS == 1, label, LABELS)
    assert np.isfinite(numpy(hard_negative_mining(labels, LOGITS, of_labels, **arguments))).all()


@pytest.mark.parametrize("dense", [False, True])
def test_masked_classes_add_nothing(dense):
    logits = np.float32([[[-np.inf, 0, 1]]])
    labels = np.float32([[[0, 0, 1]]]) if dense else np.array([[2]])
    results = hard_negative_mining(labels, logits)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(results), np.log(1 + np.e) - 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "positives", "negatives"), [(1.5, 1, 1), (0.5, 3, 1), (2.4, 2, 4)]
)
def test_fractional_ratio_rounds_down(ratio, positives, negatives):
    labels = np.array([[1] * positives + [0] * 6])
    logits = np.random.default_rng(0).normal(size=(1, positives + 6, 2)).astype("float32")
    results = keras.ops.convert_to_numpy(hard_negative_mining(labels, logits, ratio=ratio))
    assert np.count_nonzero(results[:, positives:]) == negatives


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("score", ["loss", "background"])
def test_nan_predictions_give_nan(place, score):
    """Neither among the hardest, nor where no negative counts."""
    logits = np.float32([[[0, 2], [0, 1], [0, 0], [0, 3]]])
    logits[0, place, 0] = np.nan
    loss = HardNegativeMining(ratio=1, score=score)
    for labels in ([1, 0, 0, 0], [0, 0, 0, 0]):
        assert np.isnan(float(loss(np.array([labels]), logits)))


# --- targets instead of codes ---------------------------------------------------------------------


class Targets(NamedTuple):
    """As a detector hands them on, with boxes that no loss of classes needs."""

    labels: np.ndarray
    boxes: np.ndarray
    positive: np.ndarray
    valid: np.ndarray


def targets_of(labels, background, ignored):
    """Masks, and class numbers without background; anything where an anchor shows no class."""
    positive = (labels != background) & (labels != ignored)
    names = np.where(positive, labels - ((labels > background) & (background >= 0)), 77)
    boxes = np.zeros((*labels.shape, 4), "float32")
    return Targets(names, boxes, positive, labels != ignored)


@pytest.mark.parametrize("background", [0, 2, 3])
def test_targets_with_a_score_of_the_background_equal_labels(background):
    labels, logits = random_case()
    labels = np.where(labels < 0, -1, (labels + background) % 4)
    options = {"background_class": background, "reduction": "none"}
    expected = HardNegativeMining(ignore_class=-1, **options)(labels, logits)
    targets = targets_of(labels, background, -1)
    loss = HardNegativeMining(**options)
    for form in (targets, targets._asdict()):
        np.testing.assert_array_equal(numpy(loss(form, logits)), numpy(expected))
    assert numpy(expected).any()
    every = {key: value for key, value in targets._asdict().items() if key != "valid"}
    background_too = np.where(labels < 0, background, labels)
    expected = numpy(loss(background_too, logits))
    np.testing.assert_array_equal(numpy(loss(every, logits)), expected)


def test_targets_for_a_loss_without_a_score_of_the_background():
    labels, logits = random_case()
    labels = np.where(labels == 0, -1, np.where(labels < 0, -2, labels))
    options = {"loss": sigmoid_focal, "background_class": -1}
    expected = numpy(hard_negative_mining(labels, logits, ignore_class=-2, **options))
    results = numpy(hard_negative_mining(targets_of(labels, -1, -2), logits, **options))
    np.testing.assert_array_equal(results, expected)
    assert expected.any()


def sigmoid_focal(y_true, y_pred):
    return focal_loss(y_true, y_pred, from_logits=True)


def test_targets_that_do_not_fit():
    targets = targets_of(LABELS, 0, -1)
    with pytest.raises(ValueError, match="must hold 'labels' and 'positive'"):
        hard_negative_mining({"labels": LABELS}, LOGITS)
    with pytest.raises(ValueError, match="'valid' of anchor targets must have the shape"):
        hard_negative_mining(targets._replace(valid=np.ones((1, 7))), LOGITS)
    with pytest.raises(ValueError, match="background_class must be one of the 3 places"):
        hard_negative_mining(targets, LOGITS, background_class=-1)
    with pytest.raises(ValueError, match="y_true must be whole numbers from 0 to 1; received 2"):
        hard_negative_mining(targets._replace(labels=targets.labels * 0 + 2), LOGITS)


# --- names of before ------------------------------------------------------------------------------


def test_old_names_warn_and_work():
    logits = np.roll(LOGITS, 1, -1)
    labels = (LABELS + 1) % 3
    options = {"background_class": 1, "normalize_by_positives": False, "reduction": "sum"}
    expected = float(HardNegativeMining(**options)(labels, logits))
    with pytest.warns(FutureWarning, match="now (background_class|normalize_by_positives)"):
        loss = HardNegativeMining(background=1, normalize=False)
    assert float(loss(labels, logits)) == pytest.approx(expected)
    with pytest.warns(FutureWarning, match="background is now background_class"):
        assert loss.background == 1
    with pytest.warns(FutureWarning, match="background is now background_class"):
        values = hard_negative_mining(labels, logits, background=1, normalize_by_positives=False)
    assert float(keras.ops.sum(values)) == pytest.approx(expected)


def test_old_config_loads_without_warning():
    config = HardNegativeMining(background_class=2, normalize_by_positives=False).get_config()
    before = {"background": "background_class", "normalize": "normalize_by_positives"}
    written = {k: v for k, v in config.items() if k not in before.values()}
    written |= {name: config[today] for name, today in before.items()}
    assert HardNegativeMining.from_config(written).get_config() == config
