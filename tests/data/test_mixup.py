import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdl.data import ArrayDataset, Mixup, RandomShift

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 4, 5, 3)).astype("float32")
CLASSES = np.array([0, 1, 2, 3, 4, 5])


def mix(labels, images=IMAGES, seed=3, **arguments):
    return Mixup(**arguments)(images, labels, np.random.default_rng(seed))


def taken(labels):
    """Partners and shares, as the triples of the classes 0 … N − 1 tell them."""
    assert labels[:, 0].tolist() == list(range(len(labels)))
    return labels[:, 1].astype(int), labels[:, 2]


def by_hand(values, partners, shares):
    """The formula, a sample at a time."""
    pairs = zip(range(len(values)), partners, shares, strict=True)
    return np.stack([share * values[i] + (1 - share) * values[j] for i, j, share in pairs])


# --- shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_sample", [False, True])
def test_images_are_mixed_as_the_labels_say(per_sample):
    images, labels = mix(CLASSES, alpha=1.0, per_sample=per_sample)
    partners, shares = taken(labels)
    assert sorted(partners) == CLASSES.tolist()
    assert partners.tolist() != CLASSES.tolist()
    assert len(np.unique(shares)) == (6 if per_sample else 1)
    np.testing.assert_allclose(images, by_hand(IMAGES, partners, shares), atol=1e-6)
    assert labels.dtype == images.dtype == np.float32


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha):
    """Mean ½ and variance 1 / (4 (2α + 1)): 0.178571 for α = 0.2. Never max(λ, 1 − λ)."""
    _, labels = mix(
        np.zeros(40_000, int), np.zeros((40_000, 1, 1, 1)), alpha=alpha, per_sample=True
    )
    shares = labels[:, 2]
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.02)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (shares < 0.5).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("per_sample", [False, True])
def test_alpha_zero_mixes_nothing(per_sample):
    images, labels = mix(CLASSES, alpha=0, per_sample=per_sample)
    np.testing.assert_array_equal(images, IMAGES)
    assert (labels[:, 2] == 1).all()


@given(alpha=st.floats(0, 1e6), per_sample=st.booleans(), seed=st.integers(0, 99))
def test_bounds(alpha, per_sample, seed):
    images, labels = mix(CLASSES, seed=seed, alpha=alpha, per_sample=per_sample)
    assert ((labels[:, 2] >= 0) & (labels[:, 2] <= 1)).all()
    least, most = IMAGES.min(0) - 1e-6, IMAGES.max(0) + 1e-6
    assert ((images >= least) & (images <= most)).all()


def test_repeatable():
    first, again, other = (mix(CLASSES, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_nothing_given_is_changed():
    images, classes = IMAGES.copy(), CLASSES.copy()
    mix(CLASSES)
    np.testing.assert_array_equal(IMAGES, images)
    np.testing.assert_array_equal(CLASSES, classes)


# --- labels --------------------------------------------------------------------------------------


def test_one_hot_labels_and_class_numbers_as_dense_labels():
    one_hot = np.eye(6, dtype="float32")
    _, triples = mix(CLASSES)
    expected = by_hand(one_hot, *taken(triples))
    for labels, arguments in (
        (one_hot, {}),
        (CLASSES, {"num_classes": 6}),
        (CLASSES[:, None].astype("uint8"), {"num_classes": 6}),
    ):
        _, found = mix(labels, **arguments)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_triples_of_labels_with_an_axis_of_one():
    np.testing.assert_array_equal(mix(CLASSES[:, None])[1], mix(CLASSES)[1])


def test_regression():
    targets = RNG.random(6)
    _, found = mix(targets)
    np.testing.assert_allclose(found, by_hand(targets, *taken(mix(CLASSES)[1])), atol=1e-6)
    assert found.dtype == np.float64


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("last", [(), (1,)])
def test_masks(per_sample, last):
    """Keras gathers masks without an axis: one of (6, 4, 5, 1) comes back as (6, 4, 5, 6)."""
    masks = RNG.integers(0, 3, (6, 4, 5, *last))
    partners, shares = taken(mix(CLASSES, per_sample=per_sample)[1])
    flat = masks.reshape(6, 4, 5)
    _, pairs = mix(masks, per_sample=per_sample)
    assert pairs.shape == (6, 4, 5, 3)
    np.testing.assert_array_equal(pairs[..., 0], flat)
    np.testing.assert_array_equal(pairs[..., 1], flat[partners])
    np.testing.assert_array_equal(pairs[..., 2], np.broadcast_to(shares[:, None, None], (6, 4, 5)))
    _, dense = mix(masks, per_sample=per_sample, num_classes=3)
    np.testing.assert_allclose(dense, by_hand(np.eye(3)[flat], partners, shares), atol=1e-6)
    _, soft = mix(np.eye(3, dtype="float32")[flat], per_sample=per_sample)
    np.testing.assert_allclose(soft, dense, atol=1e-6)
    _, found = mix(flat == 1, per_sample=per_sample)
    np.testing.assert_allclose(found, dense[..., 1], atol=1e-6)


def boxes(count=3):
    corners = RNG.uniform(0, 5, (6, count, 4)).astype("float32")
    classes = RNG.integers(0, 4, (6, count))
    classes[2, 1:] = -1
    classes[4] = -1
    return {"boxes": np.where(classes[..., None] < 0, -1, corners), "classes": classes}


@pytest.mark.parametrize("per_sample", [False, True])
def test_boxes(per_sample):
    """Keras concatenates boxes on axis 1, and their labels on axis 0."""
    labels = boxes()
    partners, shares = taken(mix(CLASSES, per_sample=per_sample)[1])
    _, found = mix(labels, per_sample=per_sample)
    assert found["boxes"].shape == (6, 6, 4)
    for i, (j, share) in enumerate(zip(partners, shares, strict=True)):
        for key in ("boxes", "classes"):
            np.testing.assert_array_equal(found[key][i, :3], labels[key][i])
            np.testing.assert_array_equal(found[key][i, 3:], labels[key][j])
        weights = [share] * 3 + [1 - share] * 3
        real = found["classes"][i] >= 0
        np.testing.assert_allclose(found["weights"][i], np.where(real, weights, 0), atol=1e-6)
    assert found["weights"].dtype == found["boxes"].dtype == np.float32
    assert found["classes"].dtype == labels["classes"].dtype


def test_weights_of_boxes_are_kept_when_mixed_again():
    labels = boxes()
    once = mix(labels)[1]
    half = mix({**labels, "weights": np.full((6, 3), 0.5, "float32")})[1]
    np.testing.assert_allclose(half["weights"], once["weights"] / 2)
    again = mix(half, alpha=0)[1]
    np.testing.assert_allclose(again["weights"][:, :6], half["weights"])
    np.testing.assert_array_equal(again["weights"][:, 6:], 0)


def test_dicts_are_mixed_key_by_key():
    masks = RNG.integers(0, 3, (6, 4, 5))
    _, found = mix({**boxes(), "labels": CLASSES, "masks": masks})
    assert sorted(found) == ["boxes", "classes", "labels", "masks", "weights"]
    np.testing.assert_array_equal(found["labels"], mix(CLASSES)[1])
    np.testing.assert_array_equal(found["masks"], mix(masks)[1])


@pytest.mark.parametrize(
    ("given", "expected"), [("uint8", "float32"), ("float16", "float16"), ("float64", "float64")]
)
def test_dtypes_of_images(given, expected):
    images = (255 * IMAGES).astype(given)
    mixed, labels = mix(CLASSES, images)
    assert mixed.dtype == expected
    fine = by_hand(images.astype("float64"), *taken(labels))
    np.testing.assert_allclose(mixed, fine, rtol=1e-3 if expected == "float16" else 1e-5)


# --- in a data set -------------------------------------------------------------------------------


def dataset(**arguments):
    return ArrayDataset(IMAGES, CLASSES, batch_size=4, **arguments)


def test_in_a_data_set():
    plain, mixed, again = dataset(), dataset(augment=Mixup()), dataset(augment=Mixup())
    x, y = mixed[0]
    np.testing.assert_array_equal(x, again[0][0])
    np.testing.assert_array_equal(y, again[0][1])
    np.testing.assert_array_equal(y[:, 0], plain[0][1])
    assert mixed[1][1].shape == (2, 3)
    mixed.epoch = 1
    assert not np.array_equal(mixed[0][1], y)


def test_after_other_augmentations():
    x, y = dataset(augment=[RandomShift(1), Mixup(alpha=0)])[0]
    np.testing.assert_array_equal(x, dataset(augment=RandomShift(1))[0][0])
    assert y.shape == (4, 3)
    x, y = dataset(augment=[])[0]
    np.testing.assert_array_equal(x, dataset()[0][0])


@pytest.mark.every_backend
@pytest.mark.parametrize("num_classes", [None, 6])
def test_fit(num_classes):
    from kdl.losses import MixupCrossentropy

    model = keras.Sequential(
        [keras.Input((4, 5, 3)), keras.layers.Flatten(), keras.layers.Dense(6)]
    )
    loss = (
        keras.losses.CategoricalCrossentropy(from_logits=True)
        if num_classes
        else MixupCrossentropy(from_logits=True)
    )
    model.compile("sgd", loss)
    data = dataset(augment=Mixup(num_classes=num_classes), drop_remainder=True)
    assert np.isfinite(model.fit(data, verbose=0).history["loss"][0])


# --- bad input -----------------------------------------------------------------------------------


def test_a_single_image():
    """Keras mixes it with itself, without a word."""
    with pytest.raises(ValueError, match=r"needs a batch of images .* received shape \(4, 5, 3\)"):
        mix(CLASSES[:1], IMAGES[0])


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf"), True])
def test_bad_alpha(alpha):
    with pytest.raises(ValueError, match="alpha must be a number of at least 0"):
        Mixup(alpha)


@pytest.mark.parametrize("num_classes", [1, 2.0, 0])
def test_bad_number_of_classes(num_classes):
    with pytest.raises(ValueError, match="num_classes must be an integer of at least 2"):
        Mixup(num_classes=num_classes)


@pytest.mark.parametrize("labels", [CLASSES[:5], np.array(3), {"labels": CLASSES[:5]}])
def test_labels_of_another_length(labels):
    with pytest.raises(ValueError, match="one label for each of 6 images"):
        mix(labels)


def test_whole_numbers_that_may_be_one_hot():
    with pytest.raises(ValueError, match="One-hot labels must be floats"):
        mix(np.eye(6, dtype="int64"))


@pytest.mark.parametrize("label", [-1, 6])
def test_labels_out_of_range(label):
    labels = CLASSES.copy()
    labels[2] = label
    with pytest.raises(ValueError, match="Labels must be from 0 to 5"):
        mix(labels, num_classes=6)


def test_bad_boxes():
    labels = boxes()
    with pytest.raises(ValueError, match="must have 'classes' too"):
        mix({"boxes": labels["boxes"]})
    for key in labels:
        with pytest.raises(ValueError, match=r"Expected boxes \(N, M, 4\)"):
            mix({**labels, key: labels[key][:, :2]})
        with pytest.raises(ValueError, match=r"Expected boxes \(N, M, 4\)"):
            mix({**labels, key: labels[key][:5]})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array(["a", "b"]), "must be numbers"),
        (np.array([None, 1]), "must be numbers"),
        (np.array([0, 2**24]), "below 2²⁴"),
    ],
)
def test_labels_that_float32_does_not_hold(labels, message):
    with pytest.raises(ValueError, match=message):
        Mixup()(np.zeros((2, 4, 4, 1), "float32"), labels, np.random.default_rng(0))
