"""What every loss of the package does, whoever adds one."""

import inspect

import keras
import numpy as np
import pytest

import kdl
from kdl.losses import focal_loss, label_smoothing_crossentropy
from kdl.ops import _concrete
from kdl.testing import _gradients

NAMES = [name for name in dir(kdl.losses) if not name.startswith("_")]
CLASSES = [name for name in NAMES if name[0].isupper()]
ENDS = ("loss", "entropy", "mining", "hinge", "softmax", "l1")
FUNCTIONS = [name for name in NAMES if name[0].islower() and name.endswith(ENDS)]


@pytest.mark.parametrize("name", CLASSES)
def test_dtype_in_config_is_kept(name):
    loss = getattr(kdl.losses, name)(dtype="float16")
    assert type(loss).from_config(loss.get_config()).dtype == "float16"


def test_each_class_has_its_function():
    assert len(CLASSES) == len(FUNCTIONS) >= 9


@pytest.mark.parametrize("name", CLASSES)
def test_signature_of_class_and_function_equal_arguments(name):
    """Spelled, with the same defaults: neither has an argument that the other lacks."""
    cls = getattr(kdl.losses, name)
    function = next(f for f in FUNCTIONS if f.replace("_", "") == name.lower())
    of_function = list(inspect.signature(getattr(kdl.losses, function)).parameters.values())[2:]
    of_class = inspect.signature(cls).parameters
    expected = {p.name: p.default for p in of_function if p.name != "mask"}
    common = {"name": function, "reduction": cls().reduction, "dtype": None}
    assert {p.name: p.default for p in of_class.values()} == {**expected, **common}
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in of_class.values())


def test_labels_in_a_tuple_are_no_mask():
    logits = np.float32([[2, -1], [0, 1]])
    expected = kdl.losses.FocalLoss(from_logits=True)(np.array([0, -1]), logits)
    results = kdl.losses.FocalLoss(from_logits=True)((0, -1), logits)
    assert float(results) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_model_compiled_with_a_function_loads(name, tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", getattr(kdl.losses, name))
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").loss is getattr(kdl.losses, name)


def test_arguments_of_numpy_survive_serialization():
    for loss in (
        kdl.losses.FocalLoss(alpha=np.array([0.1, 0.2])),
        kdl.losses.RepulsionLoss(variances=np.full(4, 0.5)),
        kdl.losses.TripletLoss(margin=np.float32(0.5)),
        kdl.losses.JaccardLoss(classes=[np.int64(1)]),
    ):
        text = keras.saving.serialize_keras_object(loss)
        assert keras.saving.deserialize_keras_object(text).get_config() == loss.get_config()


SCORES = np.random.default_rng(0).uniform(0.1, 0.9, (2, 4, 3)).astype("float32")
MASKS = np.array([[0, 1, 1, 0], [0, 1, 0, 1]])
SHARES = np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 0.3]], "float32")
WRONG_LABELS = {
    "focal, number": (kdl.losses.FocalLoss(), MASKS * 3, SCORES),
    "focal, fraction": (kdl.losses.FocalLoss(activation="softmax"), MASKS * 0.5, SCORES),
    "focal, mask of 255": (kdl.losses.FocalLoss(), MASKS[..., None] * 255, SCORES[..., :1]),
    "hard negatives": (kdl.losses.HardNegativeMining(), MASKS * 3, SCORES),
    "jaccard, number": (kdl.losses.JaccardLoss(), MASKS * 3, SCORES),
    "jaccard, mask of 255": (kdl.losses.JaccardLoss(), MASKS * 255, SCORES[..., :1]),
    "jaccard, no probability": (kdl.losses.JaccardLoss(), MASKS, SCORES * 3),
    "smoothing, number": (kdl.losses.LabelSmoothingCrossentropy(), MASKS * 3, SCORES),
    "smoothing, share": (kdl.losses.LabelSmoothingCrossentropy(), SCORES * 3, SCORES),
    "hinge, mask of 255": (kdl.losses.LovaszHinge(), MASKS * 255, SCORES[..., 0]),
    "hinge, fraction": (kdl.losses.LovaszHinge(per_image=False), MASKS * 0.5, SCORES[..., 0]),
    "lovasz, number": (kdl.losses.LovaszSoftmax(), MASKS * 3, SCORES),
    "lovasz, fraction": (kdl.losses.LovaszSoftmax(), SCORES, SCORES),
    "mixup, share": (kdl.losses.MixupCrossentropy(), SHARES + [0, 0, 1], SCORES[:, 0]),
    "mixup, number": (kdl.losses.MixupCrossentropy(), SHARES + [2, 0, 0], SCORES[:, 0]),
    "triplet, fraction": (kdl.losses.TripletLoss(), np.array([0.5, 1]), SCORES[:, 0]),
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_wrong_labels_raise_or_give_nan_in_compiled_steps(name, monkeypatch):
    loss, y_true, y_pred = WRONG_LABELS[name]
    with pytest.raises(ValueError, match="must"):
        loss(y_true, y_pred)
    monkeypatch.setattr(_concrete, "_is_traced", lambda tensor: True)  # as in a compiled step
    _, (gradient,) = _gradients.gradients(lambda p: loss(y_true, p), [], y_pred)
    assert np.isnan(keras.ops.convert_to_numpy(loss(y_true, y_pred))).all()
    assert np.isfinite(gradient).all()  # so that no weight is lost


def test_masks_of_255_raise_or_give_nan_in_fit():
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.Dense(1)])
    model.compile("sgd", kdl.losses.JaccardLoss(from_logits=True))
    x, y = np.ones((2, 4, 2), "float32"), MASKS * 255
    if keras.backend.backend() == "torch":
        with pytest.raises(ValueError, match="0 … 1"):
            model.fit(x, y, verbose=0)
        return
    assert np.isnan(model.fit(x, y, verbose=0).history["loss"]).all()
    assert all(np.isfinite(weights).all() for weights in model.get_weights())


@pytest.mark.parametrize(
    "make",
    [
        lambda: kdl.losses.HardNegativeMining(ratio=float("nan")),
        lambda: kdl.losses.HardNegativeMining(ratio=float("inf")),
        lambda: kdl.losses.RepulsionLoss(alpha=float("nan")),
    ],
)
def test_arguments_not_finite_raise(make):
    with pytest.raises(ValueError, match="must not be negative or infinite"):
        make()


MASKED = {
    "focal, sum": kdl.losses.FocalLoss(normalize_by_positives=True, reduction="sum"),
    "focal, mean": kdl.losses.FocalLoss(),
    "hard negatives": kdl.losses.HardNegativeMining(),
    "jaccard": kdl.losses.JaccardLoss(),
    "jaccard of images": kdl.losses.JaccardLoss(per_image=True),
    "lovasz": kdl.losses.LovaszSoftmax(),
    "smoothing": kdl.losses.LabelSmoothingCrossentropy(),
}


def masked_predictions():
    """As of sequences padded to one length: the mask comes along with the predictions."""
    padded = np.concatenate([SCORES, SCORES[:, :2]], 1)
    mask = np.arange(6) < 4
    x = np.where(mask[:, None], padded, 0).astype("float32")
    inputs = keras.Input((6, 3))
    outputs = _Padding()(keras.layers.Masking()(inputs))
    return keras.Model(inputs, outputs)(x)


@pytest.mark.parametrize("name", MASKED)
def test_masked_positions_change_no_loss(name):
    y_true = np.concatenate([MASKS, np.ones((2, 2), int)], 1)
    results = MASKED[name](y_true, masked_predictions())
    np.testing.assert_allclose(float(results), float(MASKED[name](MASKS, SCORES)), rtol=1e-5)


@pytest.mark.parametrize("name", ["focal, sum", "hard negatives"])
def test_masked_positions_of_targets_change_no_loss(name):
    labels = np.concatenate([MASKS, np.ones((2, 2), int)], 1)
    targets = {"labels": labels * 0, "positive": labels > 0}
    expected = MASKED[name]({key: v[:, :4] for key, v in targets.items()}, SCORES)
    results = MASKED[name](targets, masked_predictions())
    np.testing.assert_allclose(float(results), float(expected), rtol=1e-5)


@keras.saving.register_keras_serializable("kdl-tests")
class _Padding(keras.layers.Layer):
    """Something else than zeros in what is masked."""

    supports_masking = True

    def call(self, inputs):
        empty = keras.ops.all(inputs == 0, -1, keepdims=True)
        return keras.ops.where(empty, np.float32([0.98, 0.01, 0.01]), inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("name", ["FocalLoss", "HardNegativeMining", "LabelSmoothingCrossentropy"])
def test_sample_weight_of_rank_1_weighs_all_positions(name, shape, reduction):
    """Four samples of four places: Keras would lay such weights along the places."""
    scores, labels = np.concatenate([SCORES, SCORES[:, ::-1]]), np.concatenate([MASKS, MASKS])
    weights = np.arange(4.0)
    loss = getattr(kdl.losses, name)(reduction=reduction)
    results = float(loss(labels, scores, sample_weight=weights.reshape(shape)))
    expected = loss(labels, scores, sample_weight=np.repeat(weights[:, None], 4, 1))
    assert results == pytest.approx(float(expected), rel=1e-5)


WITHOUT_POSITIONS = {
    "hinge": (kdl.losses.LovaszHinge(), MASKS, SCORES[..., 0]),
    "hinge of batch": (kdl.losses.LovaszHinge(per_image=False), MASKS, SCORES[..., 0]),
    "jaccard": (kdl.losses.JaccardLoss(), MASKS, SCORES),
    "jaccard of images": (kdl.losses.JaccardLoss(per_image=True), MASKS, SCORES),
    "lovasz": (kdl.losses.LovaszSoftmax(), MASKS, SCORES),
    "lovasz of images": (kdl.losses.LovaszSoftmax(per_image=True), MASKS, SCORES),
}


@pytest.mark.parametrize("name", WITHOUT_POSITIONS)
def test_sample_weight_of_positions_that_have_no_value_raises(name):
    loss, y_true, y_pred = WITHOUT_POSITIONS[name]
    with pytest.raises(ValueError, match=r"must be \(batch,\).* received \(2, 4\).*ignore_class"):
        loss(y_true, y_pred, sample_weight=np.ones((2, 4)))
    expected = float(loss(y_true, y_pred, sample_weight=np.float32([1, 3])))
    for shape in ((2, 1), (2, 1, 1)):  # weights of samples all the same
        results = loss(y_true, y_pred, sample_weight=np.float32([1, 3]).reshape(shape))
        assert float(results) == pytest.approx(expected)


@pytest.mark.every_backend
@pytest.mark.parametrize("name", WITHOUT_POSITIONS)
def test_empty_batch_has_no_loss(name):
    """As of a replica to which nothing is left of the last batch."""
    loss, y_true, y_pred = WITHOUT_POSITIONS[name]
    arguments = {k: v for k, v in loss.get_config().items() if k != "reduction"}
    values = type(loss)(**arguments, reduction="none")(y_true[:0], y_pred[:0])
    assert tuple(values.shape) == (0,)


def test_labels_in_narrow_dtypes_keep_their_values():
    """Of 300 classes 256 is 0 in uint8; of an unsigned label −2 is 254."""
    scores = np.full((1, 300), -20, "float32")
    scores[0, 0] = 20
    labels = np.array([0], "uint8")
    loss = label_smoothing_crossentropy(labels, scores, 0.0, from_logits=True)
    assert float(loss[0]) == pytest.approx(0, abs=1e-5)
    far, zeros = np.array([254]), np.zeros((1, 255), "float32")
    narrow, wide = (
        focal_loss(far.astype(dtype), zeros, from_logits=True) for dtype in ("uint8", "int32")
    )
    assert float(narrow[0]) == pytest.approx(float(wide[0]))
