import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kdl.losses import RepulsionLoss, repulsion_loss, repulsion_terms
from kdl.losses.repulsion_loss import smooth_ln
from kdl.ops import box_iou, encode_boxes
from kdl.testing import run_loss_test
from kdl.testing._gradients import gradients

IMAGES, TRUTHS, PROPOSALS = 20, 5, 12  # of all cases, so that JAX compiles once


def padded(rows, count, value=-1):
    """One image of `rows` before images of padding only."""
    full = np.full((IMAGES, count, *np.shape(rows)[1:]), value, "float32")
    full[0, : len(rows)] = rows
    return full


WORKED = {
    "boxes": padded([[0, 0, 10, 20], [6, 0, 16, 20], [30, 0, 40, 20]], TRUTHS),
    "labels": padded([0, 0, 0], TRUTHS),
    "proposals": padded(
        [[0, 0, 10, 20], [1, 0, 11, 20], [5, 0, 15, 20], [30, 0, 40, 20]], PROPOSALS
    ),
}
BOXES = padded([[1, 0, 11, 20], [2, 0, 12, 20], [6, 0, 16, 20], [30, 0, 40, 20]], PROPOSALS)


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def terms(y_true, y_pred, **arguments):
    return as_arrays(
        compiled(lambda *inputs: repulsion_terms(*inputs, **arguments))(y_true, y_pred)
    )


def as_arrays(results):
    return {key: numpy(value) for key, value in results.items()}


def compiled(function):
    """On JAX, which otherwise compiles each operation alone; that takes longer."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def first(y_true, y_pred, **arguments):
    """The terms of the first image; those of the padding are 0."""
    results = terms(y_true, y_pred, **arguments)
    assert not any(v[1:].any() for v in results.values())
    return {key: float(v[0]) for key, v in results.items()}


@pytest.mark.parametrize(
    ("sigma", "expected", "at_one"),
    [
        (0, [0.1, 0.25, 0.5, 0.75, 0.95], 1),
        (0.5, [0.105361, 0.287682, 0.693147, 1.193147, 1.593147], 1.693147),
        (0.9, [0.105361, 0.287682, 0.693147, 1.386294, 2.802585], 3.302585),
        (0.99, [0.105361, 0.287682, 0.693147, 1.386294, 2.995732], 5.605170),
        (1, [0.105361, 0.287682, 0.693147, 1.386294, 2.995732], 13.815511),
    ],
)
def test_smooth_ln(sigma, expected, at_one):
    x = keras.ops.convert_to_tensor([0.1, 0.25, 0.5, 0.75, 0.95, 1], "float32")
    tolerance = 0.1 if sigma == 1 else 1e-5  # 1 − 1e-6 is not a float32
    np.testing.assert_allclose(numpy(smooth_ln(x, sigma))[:5], expected, atol=1e-5)
    assert numpy(smooth_ln(x, sigma))[5] == pytest.approx(at_one, abs=tolerance)


@pytest.mark.parametrize(("sigma", "expected"), [(0, 0.375), (0.5, 0.5242800), (0.9, 0.5300659)])
def test_worked_rep_gt(sigma, expected):
    results = first(WORKED, BOXES, sigma_rep_gt=sigma)
    assert results["rep_gt"] == pytest.approx(expected, abs=1e-6)
    assert results["attraction"] == pytest.approx((1 + 3 + 0 + 0) / 4)


@pytest.mark.parametrize(("sigma", "expected"), [(0, 0.380952), (0.5, 0.482540)])
def test_worked_rep_box(sigma, expected):
    results = first(WORKED, BOXES, sigma_rep_box=sigma)["rep_box"]
    assert results == pytest.approx(expected, abs=1e-6)


def test_loss_is_the_weighted_sum_of_terms():
    results = numpy(repulsion_loss(WORKED, BOXES, alpha=0.25, beta=2.0, sigma_rep_gt=0.5))[0]
    assert results == pytest.approx(1 + 0.25 * 0.5242800 + 2 * 0.380952, abs=1e-5)
    total = RepulsionLoss(0.25, 2.0, 0.5, reduction="sum")(WORKED, BOXES)
    assert float(total) == pytest.approx(float(results))


# --- the definition, in loops ---------------------------------------------------------------------


def overlap(a, b, divisor):
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    first, second = (max(c[2] - c[0], 0) * max(c[3] - c[1], 0) for c in (a, b))
    whole = second if divisor == "iog" else first + second - shared
    return shared / whole if whole > 0 else 0.0


def penalty(x, sigma):
    return -np.log(1 - x) if x <= sigma else (x - sigma) / (1 - sigma) - np.log(1 - sigma)


def definition(truths, classes, proposals, boxes, sigma_rep_gt, sigma_rep_box):
    """The formulas for one image."""
    real = [g for g in range(len(truths)) if classes[g] >= 0]
    attraction = rep_gt = rep_box = overlapping = 0
    positives = []
    for proposal, box in zip(proposals, boxes, strict=True):
        ious = {g: overlap(proposal, truths[g], "iou") for g in real}
        target = max(ious, key=ious.get, default=None)
        if target is None or ious[target] < 0.5:
            continue
        positives.append((target, box))
        off = np.abs(box - truths[target])
        attraction += np.where(off < 1, off**2 / 2, off - 0.5).sum()
        rivals = {g: ious[g] for g in real if g != target and classes[g] == classes[target]}
        rival = max(rivals, key=rivals.get, default=None)
        if rival is not None and rivals[rival] > 0:
            rep_gt += penalty(overlap(box, truths[rival], "iog"), sigma_rep_gt)
    for first, box in positives:
        for second, other in positives:
            if first != second and overlap(box, other, "iou") > 0:
                rep_box += penalty(overlap(box, other, "iou"), sigma_rep_box)
                overlapping += 1
    count = max(len(positives), 1)
    return attraction / count, rep_gt / count, rep_box / (overlapping + 1e-7)


def crowd(seed, images=IMAGES, truths=TRUTHS, proposals=PROPOSALS):
    """Ground truths side by side, proposals and predictions around them."""
    rng = np.random.default_rng(seed)
    left = np.arange(truths) * 6 + rng.uniform(-2, 2, (images, truths))
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 20], -1)
    classes = rng.integers(0, 2, (images, truths))
    classes[:, -1] = -1
    boxes[:, -1] = -1
    chosen = rng.integers(0, truths - 1, (images, proposals))
    near = np.take_along_axis(boxes, chosen[..., None], 1)
    around = near + rng.normal(0, 1.5, (images, proposals, 4))
    predicted = near + rng.normal(0, 1.5, (images, proposals, 4))
    truth = {"boxes": boxes.astype("float32"), "labels": classes.astype("int32")}
    truth["proposals"] = around.astype("float32")
    return truth, predicted.astype("float32")


@pytest.mark.parametrize("sigmas", [(0.5, 0.5), (0.9, 0.0)])
def test_definition_on_random_crowds(sigmas):
    truth, predicted = crowd(0)
    results = terms(truth, predicted, sigma_rep_gt=sigmas[0], sigma_rep_box=sigmas[1])
    seen = np.zeros(3)
    for image in range(IMAGES):
        expected = definition(
            truth["boxes"][image].astype("float64"),
            truth["labels"][image],
            truth["proposals"][image],
            predicted[image].astype("float64"),
            *sigmas,
        )
        seen += np.array(expected) > 0
        got = [results[key][image] for key in ("attraction", "rep_gt", "rep_box")]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert min(seen) > IMAGES / 2


def test_offsets_are_decoded_for_the_repulsion():
    variances = (0.1, 0.1, 0.2, 0.2)
    truth, predicted = crowd(1)
    offsets = numpy(encode_boxes(predicted, truth["proposals"], variances))
    results, plain = terms(truth, offsets, variances=variances), terms(truth, predicted)
    for key in ("rep_gt", "rep_box"):
        np.testing.assert_allclose(results[key], plain[key], rtol=1e-4)
    goals = np.stack([[truth["boxes"][i, 0]] * PROPOSALS for i in range(IMAGES)])
    one = {**truth, "boxes": truth["boxes"][:, :1], "labels": truth["labels"][:, :1]}
    exact = numpy(encode_boxes(goals, truth["proposals"], variances))
    assert not terms(one, exact, variances=variances)["attraction"].any()
    moved = terms(one, exact + 3, variances=variances)["attraction"]
    np.testing.assert_allclose(moved, [4 * 2.5] * IMAGES, rtol=1e-4)


def test_max_positives_keeps_the_best():
    truth, predicted = crowd(2)
    everything = terms(truth, predicted)
    for key, values in terms(truth, predicted, max_positives=1000).items():
        np.testing.assert_allclose(values, everything[key], rtol=1e-5)
    limited = first(WORKED, BOXES, max_positives=2)  # the exact proposals, the first and last
    assert limited["attraction"] == pytest.approx(0.5)
    assert limited["rep_gt"] == pytest.approx(np.log(2) / 2, abs=1e-5)
    assert limited["rep_box"] == 0


def test_padding_and_other_classes_do_not_repel():
    for classes in ([0, 1, 0], [0, -1, 0]):
        truth = {**WORKED, "labels": padded(classes, TRUTHS)}
        assert first(truth, BOXES)["rep_gt"] == 0


def test_shared_proposals_and_columns():
    truth, boxes = crowd(3)
    truth["proposals"] = np.repeat(truth["proposals"][:1], IMAGES, 0)
    expected = numpy(compiled(repulsion_loss)(truth, boxes))
    shared = numpy(repulsion_loss({**truth, "proposals": truth["proposals"][0]}, boxes))
    columns = numpy(repulsion_loss(*as_columns(truth, boxes)))
    np.testing.assert_allclose(shared, expected)
    np.testing.assert_allclose(columns, expected)


def as_columns(truth, boxes):
    """The form that `compile` needs."""
    y_true = np.concatenate([truth["boxes"], truth["labels"][..., None]], -1)
    return y_true.astype("float32"), np.concatenate([truth["proposals"], boxes], -1)


# --- edges ----------------------------------------------------------------------------------------


def edge_cases():
    """Ten cases of two images each."""
    truth, boxes = crowd(3, images=2)
    start = np.repeat(truth["boxes"][:, :1], PROPOSALS, 1)
    copies = {**truth, "boxes": np.repeat(truth["boxes"][:, :1], TRUTHS, 1)}
    cases = [
        (truth, np.repeat(start[:1], 2, 0)),  # identical boxes of different targets
        (truth, truth["proposals"]),
        ({**truth, "labels": np.full_like(truth["labels"], -1)}, boxes),
        ({**truth, "labels": np.array([[0, -1, -1, -1, -1]] * 2)}, boxes),
        ({**copies, "labels": np.zeros_like(truth["labels"])}, start),
        ({**truth, "proposals": truth["proposals"] + 1e4}, boxes),  # no positive
        (truth, boxes * 1e3),
        (truth, boxes * 1e9),
        (truth, boxes[..., [2, 3, 0, 1]]),  # negative sides
        (truth, np.zeros_like(boxes)),
    ]
    joined = {key: np.concatenate([case[0][key] for case in cases]) for key in truth}
    return joined, np.concatenate([case[1] for case in cases])


def test_contracts_of_a_loss():
    run_loss_test(
        RepulsionLoss,
        {"sigma_rep_gt": 1.0, "sigma_rep_box": 1.0, "alpha": 0.75},
        *as_columns(*crowd(4)),
        function=repulsion_loss,
        edge_cases=[as_columns(*edge_cases())],
    )


def test_contracts_with_offsets():
    truth, boxes = crowd(5)
    variances = [0.1, 0.1, 0.2, 0.2]
    offsets = numpy(encode_boxes(boxes, truth["proposals"], variances))
    edge_truth, edge_boxes = edge_cases()
    edge_offsets = numpy(encode_boxes(edge_boxes, edge_truth["proposals"], variances))
    edge_offsets[-2:] = 1e6
    run_loss_test(
        RepulsionLoss,
        {"variances": variances, "max_positives": 8},
        *as_columns(truth, offsets),
        function=repulsion_loss,
        edge_cases=[as_columns(edge_truth, edge_offsets)],
    )


def test_empty_ground_truth_gives_zero():
    truth, boxes = crowd(6)
    empty = {**truth, "boxes": truth["boxes"][:, :0], "labels": truth["labels"][:, :0]}
    assert not numpy(repulsion_loss(empty, boxes)).any()


def test_gradient_of_an_overlapping_box_points_off_its_neighbor():
    """Only the left edge of the middle box is in the way of its neighbor."""
    truth = {**WORKED, "labels": padded([0, 0], TRUTHS)}
    boxes = BOXES.copy()
    boxes[0, 2] = truth["boxes"][0, 1]  # where nothing attracts any more
    _, (gradient,) = gradients(lambda b: repulsion_loss(truth, b, beta=0), [], boxes)
    _, (weight,) = gradients(lambda x: x, [], np.ones(IMAGES, "float32"))
    # It covers .4 of the neighbor, 10 wide: the slope of −ln(1 − x) there, half of a third.
    expected = [-0.1 / 0.6 / 2 / 3, 0, 0, 0]
    np.testing.assert_allclose(gradient[0, 2, [0, 2]] / weight[0], expected[:3:2], rtol=1e-5)
    assert not gradient[0, 3].any()


def test_old_key_warns_and_works():
    before = {"classes" if key == "labels" else key: value for key, value in WORKED.items()}
    with pytest.warns(FutureWarning, match="'classes' is now 'labels'"):
        results = numpy(repulsion_loss(before, BOXES))
    np.testing.assert_array_equal(results, numpy(repulsion_loss(WORKED, BOXES)))


def test_ignored_rows_are_padding():
    truth, boxes = crowd(7)
    ignore = np.arange(TRUTHS) % 2 == 0
    padding = {**truth, "labels": np.where(ignore, -1, truth["labels"])}
    marked = {**truth, "ignore": np.broadcast_to(ignore, truth["labels"].shape)}
    for key, values in terms(marked, boxes).items():
        np.testing.assert_array_equal(values, terms(padding, boxes)[key])
        assert not np.array_equal(values, terms(truth, boxes)[key])


@pytest.mark.parametrize("max_positives", [None, 10])
def test_masks_of_a_detector_choose_the_positives(max_positives):
    truth, boxes = crowd(8)
    ious = numpy(box_iou(truth["proposals"], truth["boxes"]))
    best = np.where(truth["labels"][:, None] >= 0, ious, -1).max(-1)
    options = {"max_positives": max_positives}
    expected = terms(truth, boxes, positive_iou=0.7, **options)
    masks = {"positive": best >= 0.3, "valid": best >= 0.7}
    for key, values in terms({**truth, **masks}, boxes, **options).items():
        np.testing.assert_array_equal(values, expected[key])
    assert not np.array_equal(expected["attraction"], terms(truth, boxes, **options)["attraction"])
    nothing = {**truth, "labels": np.full_like(truth["labels"], -1), "positive": masks["positive"]}
    assert not any(values.any() for values in terms(nothing, boxes, **options).values())


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.5, 2.0, 8.0]))
def test_properties(seed, scale):
    """Order does not matter, and the repulsion does not depend on the scale."""
    truth, boxes = crowd(seed)
    ious = np.sort(numpy(box_iou(truth["proposals"], truth["boxes"])), -1)
    equal = (np.diff(ious) < 1e-5) & (ious[..., 1:] > 0)
    assume(not equal.any())  # equals go by the order of the ground truths
    rng = np.random.default_rng(seed)
    order, swap = rng.permutation(PROPOSALS), rng.permutation(TRUTHS)
    measure = compiled(repulsion_terms)
    results = as_arrays(measure(truth, boxes))
    assert all(np.isfinite(v).all() and (v >= 0).all() for v in results.values())
    assert (results["rep_box"] <= 1).all()
    mixed = {"proposals": truth["proposals"][:, order]}
    mixed.update({key: truth[key][:, swap] for key in ("boxes", "labels")})
    for key, values in as_arrays(measure(mixed, boxes[:, order])).items():
        np.testing.assert_allclose(values, results[key], rtol=1e-4, atol=1e-5)
    scaled = {key: truth[key] * scale for key in ("boxes", "proposals")}
    scaled["labels"] = truth["labels"]
    moved = as_arrays(measure(scaled, boxes * np.float32(scale)))
    for key in ("rep_gt", "rep_box"):
        np.testing.assert_allclose(moved[key], results[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1}, "alpha and beta must not be negative"),
        ({"sigma_rep_gt": 1.1}, "sigma_rep_gt must be from 0 to 1"),
        ({"sigma_rep_box": -0.1}, "sigma_rep_box must be from 0 to 1"),
        ({"positive_iou": 0}, "positive_iou must be above 0"),
        ({"variances": (1, 1)}, "variances must be four positive numbers"),
        ({"max_positives": 0}, "max_positives must be a positive integer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        RepulsionLoss(**arguments)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"received .* \(20, 12, 4\) and \(20, 3, 4\)"):
        repulsion_loss(WORKED, BOXES[:, :3])
    with pytest.raises(ValueError, match="Expected proposals"):
        repulsion_loss({key: WORKED[key] for key in ("boxes", "labels")}, BOXES)
    with pytest.raises(ValueError, match="Expected y_true with boxes"):
        repulsion_loss({**WORKED, "labels": np.zeros((IMAGES, 2))}, BOXES)


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        ((16, 3), (16, 4)),
        ((2, 3, 3), (2, 5, 8)),
        ((2, 3, 5), (2, 8)),
        ((4,), (4,)),
        ((2, 3, 5), ()),
    ],
)
def test_wrong_shapes_raise_with_the_right_ones(truth, prediction):
    with pytest.raises(ValueError, match=r"Expected y_.* received"):
        RepulsionLoss()(np.zeros(truth, "float32"), np.zeros(prediction, "float32"))


def test_dict_without_boxes_raises():
    with pytest.raises(ValueError, match=r"keys 'boxes' and 'labels'.*received \['labels'\]"):
        RepulsionLoss()({"labels": np.zeros((1, 2))}, np.zeros((1, 3, 8), "float32"))


def test_floatx_of_float64():
    truth = np.array([[[0, 0, 10, 20, 0], [6, 0, 16, 20, 0]]], "float64")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        results = repulsion_loss(truth, np.array([[[1, 0, 11, 20] * 2]], "float64"))
    finally:
        keras.config.set_floatx(before)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(results), 1 + np.log(2) / 2, rtol=1e-5)
