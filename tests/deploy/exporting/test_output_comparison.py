import dataclasses

import numpy as np
import pytest

from kdl.deploy.exporting.output_comparison import compare_output, kind_of
from kdl.deploy.exporting.tolerances import TOLERANCES, Tolerances

OPEN = Tolerances(sqnr=-np.inf)


def compare(expected, actual, tolerances=OPEN, **options):
    return compare_output("y", np.asarray(expected), np.asarray(actual), tolerances, **options)


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((8, 10), "float32", "scores"),
        ((8, 1), "float32", "features"),
        ((8,), "float32", "features"),
        ((8, 100, 4), "float32", "boxes"),
        ((8, 100, 20), "float32", "features"),
        ((8, 6, 6, 4), "float32", "map"),
        ((8, 4, 6, 6, 3), "float32", "features"),
        ((8,), "int32", "labels"),
        ((8, 6, 6), "int64", "labels"),
        ((8, 6, 6, 1), "uint8", "labels"),
        ((8, 6, 6, 3), "uint8", "map"),
        ((8, 5), "bool", "labels"),
    ],
)
def test_the_kind_follows_from_shape_and_dtype(shape, dtype, kind):
    assert kind_of(np.zeros(shape, dtype)) == kind


def test_spread_over_error_of_the_worst_channel():
    """Channels (0, 2) and (0, 20) with variances 1 and 100, mean squared errors 1/4 and 1."""
    y = np.array([[[0.0, 0.0], [2.0, 20.0]]])
    z = y + [[[0.5, 1.0], [-0.5, -1.0]]]
    result = compare(y, z)
    assert result.channel_sqnr == pytest.approx(10 * np.log10(4))
    assert result.relative_error == pytest.approx(1 / 20)


@pytest.mark.parametrize(("channels", "passes"), [(19, False), (20, True), (40, True)])
def test_one_channel_in_twenty_may_be_lost_but_none_of_boxes(channels, passes):
    y = np.random.default_rng(0).normal(size=(16, 9, channels))
    y[..., 0] *= 0.1
    z = y.copy()
    z[..., 0] = 0
    assert compare(y, z, TOLERANCES["int8"], kind="features").passed == passes
    assert not compare(y, z, TOLERANCES["int8"], kind="boxes").passed


def test_a_class_that_was_not_seen_needs_no_precision():
    """Probabilities that never leave 0 … 0.2 become zeros in an int8 file."""
    rng = np.random.default_rng(0)
    y = np.stack([rng.random((8, 30)), 0.001 * rng.random((8, 30))], axis=-1)
    z = np.round(y * 256) / 256
    assert compare(y, z, TOLERANCES["int8"]).passed
    y[0, 0, 1], z[0, 0, 1] = 0.9, 0
    assert not compare(y, z, TOLERANCES["int8"]).passed


def test_probabilities_that_hardly_move_must_move_alike():
    """0.5 ± 0.01 with every pixel turned round: 28 dB, and all wrong."""
    y = 0.5 + 0.01 * np.sign(np.random.default_rng(0).normal(size=(4, 6, 6, 1)))
    y = np.concatenate([y, 1 - y], axis=-1)
    result = compare(y, y[..., ::-1], TOLERANCES["int8"])
    assert result.sqnr > 27
    assert result.agreement == 0
    assert not result.passed


@pytest.mark.parametrize(
    ("wrong", "form", "passes"),
    [
        (0, "float32", True),
        (1, "float32", False),
        (1, "float16", True),
        (2, "float16", False),
        (5, "int8", True),
        (6, "int8", False),
    ],
)
def test_integers_are_judged_by_how_many_are_equal(wrong, form, passes):
    y = np.arange(100, dtype="int32")[:, None] % 7
    z = y.copy()
    z[:wrong] += 1
    result = compare(y, z, TOLERANCES[form])
    assert result.kind == "labels"
    assert result.passed == passes
    assert result.agreement == 1 - wrong / 100


@pytest.mark.parametrize("kind", ["scores", "boxes", "features", "map"])
def test_integers_are_labels_however_they_are_called(kind):
    """Classes that are all off by one, at 41 dB; and one of many that a rounding turned."""
    y = np.arange(100, 150)
    assert not compare(y, y + 1, TOLERANCES["int8"], kind=kind).passed
    y = np.arange(2000)[:, None]
    z = np.where(y == 7, 1999, y)
    result = compare(y, z, TOLERANCES["float32"], kind=kind)
    assert result.kind == "labels"
    assert result.passed


def test_a_single_wrong_label_is_no_tie():
    assert not compare(np.array([3]), np.array([4]), TOLERANCES["int8"]).passed


def test_outputs_that_do_not_vary_are_held_to_their_magnitude():
    y = np.full((1, 1), 0.3, "float32")
    assert compare(y, np.nextafter(y, np.float32(1)), TOLERANCES["float32"]).passed
    assert not compare(y, y * np.float32(1.001), TOLERANCES["float32"]).passed
    assert not compare(np.zeros((1, 1)), np.full((1, 1), 1e-40), TOLERANCES["float32"]).passed


@pytest.mark.parametrize("name", ["sqnr", "relative_error", "channel_sqnr"])
def test_a_measure_that_is_nan_misses_its_gate(name):
    y = np.random.default_rng(0).normal(size=(4, 6, 6, 2))
    result = compare(y, y, TOLERANCES["int8"])
    assert result.passed
    assert not dataclasses.replace(result, **{name: np.nan}).passed


def test_outputs_without_elements_are_equal():
    empty = np.zeros((4, 0, 4), "float32")
    assert compare(empty, empty, TOLERANCES["float32"]).passed


def test_label_maps_tell_that_the_last_axis_holds_classes():
    y = np.random.default_rng(0).normal(size=(2, 3, 3, 4))
    assert compare(y, y).agreement is None
    assert compare(y, y, classes=True).agreement == 1


@pytest.mark.parametrize(("channels", "passes"), [(20, False), (40, True)])
def test_channels_of_a_feature_map_that_int8_cannot_tell_from_constants_do_not_count(
    channels, passes
):
    """A tenth of the channels spreads over less than four of the 255 steps, and is lost."""
    y = np.random.default_rng(0).uniform(-1, 1, (64, 3, 3, channels))
    y[..., : channels // 10] *= 0.01
    z = y.copy()
    z[..., : channels // 10] = 0
    assert compare(y, z, TOLERANCES["int8"]).passed == passes
    assert not compare(y, z, TOLERANCES["float16"]).passed


def test_each_column_of_a_row_counts_unless_the_row_is_a_distribution():
    """An angle beside a share, of which the file gives two values alone; and probabilities."""
    rng = np.random.default_rng(0)
    y = np.stack([rng.uniform(20, 200, 400), rng.random(400)], axis=1)
    z = np.stack([y[:, 0], 0.782 * (y[:, 1] > 0.5)], axis=1)
    z[:, 1] = rng.permutation(z[:, 1])
    result = compare(y, z, TOLERANCES["int8"])
    assert result.sqnr > 40
    assert "a channel's error beside its own spread" in result.failures[0]
    own = dataclasses.replace(TOLERANCES["int8"], rounded=True)
    assert compare(y, z, own).passed  # within a step of a model that is rounded itself
    assert not compare(y, y[:, ::-1], own).passed
    shares = rng.dirichlet([9, 9, 0.01], 400)
    assert compare(shares, np.round(shares * 256) / 256, TOLERANCES["int8"]).passed
    labels = (rng.random((400, 20)) < 0.5).astype("float32")
    lost = labels.copy()
    lost[:, 3] = labels[:, 3].mean()
    assert compare(labels, labels, TOLERANCES["float16"]).passed
    assert not compare(labels[:, :19], lost[:, :19], TOLERANCES["float16"]).passed


def test_rare_integers_count():
    """A mask with some pixels of another class, all of which the file loses."""
    mask = np.zeros((4, 20, 20), "int32")
    mask[:, 3:6, 3:6] = 1  # 36 of 1,600: 97.75 % are equal in a file of zeros
    result = compare(mask, np.zeros_like(mask), TOLERANCES["int8"])
    assert not result.passed
    assert any("36 integers that are not the commonest" in line for line in result.failures)
    most = mask.copy()
    most[:, 3, 3:6] = 0
    assert compare(mask, most, TOLERANCES["int8"]).passed


def test_outputs_that_hardly_move_do_not_vary():
    y = np.float32([[100, 7], [100.3, 7]])
    assert not compare(y, y).varies
    assert compare(y - np.float32([99, 0]), y).varies
