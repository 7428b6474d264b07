import keras
import numpy as np
import pytest
from keras import ops

from kdl.testing import run_loss_test

COMPILED = keras.backend.backend() != "torch"
TRUE = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "float32")
PRED = np.array([[0.5, 0.2, 0.3], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1]], "float32")
register = keras.saving.register_keras_serializable("kdl_loss_tests")


def power_error(y_true, y_pred, power=2):
    error = ops.abs(ops.cast(y_true, "float32") - ops.cast(y_pred, "float32"))
    return ops.mean(error**power, axis=-1)


@register
class PowerError(keras.losses.Loss):
    """A loss without a fault."""

    def __init__(self, power=2, reduction="sum_over_batch_size", name="power_error", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.power = power

    def call(self, y_true, y_pred):
        return power_error(y_true, y_pred, self.power)

    def get_config(self):
        return {**super().get_config(), "power": self.power}


def fails(cls, match, init_kwargs=None, y_true=TRUE, y_pred=PRED, **options):
    with pytest.raises(AssertionError, match=match) as caught:
        run_loss_test(cls, init_kwargs or {}, y_true, y_pred, **options)
    assert str(caught.value).startswith(cls.__name__)


# --- losses that pass ---------------------------------------------------------------------------


@pytest.mark.every_backend
def test_a_faultless_loss_passes():
    errors = np.mean(np.abs(TRUE - PRED) ** 3, axis=-1)
    options = {"function": power_error, "edge_cases": [(TRUE, TRUE), (TRUE, 1e5 * PRED)]}
    run_loss_test(PowerError, {"power": 3}, TRUE, PRED, expected=errors, **options)
    run_loss_test(PowerError, {"power": 3}, TRUE, PRED, expected=errors.mean(), **options)


def test_an_expected_scalar_follows_the_reduction():
    errors = np.mean(np.abs(TRUE - PRED) ** 2, axis=-1)
    run_loss_test(PowerError, {"reduction": "sum"}, TRUE, PRED, expected=errors.sum())


@pytest.mark.parametrize(
    ("cls", "init_kwargs", "y_true", "y_pred"),
    [
        (keras.losses.CategoricalCrossentropy, {"label_smoothing": 0.1}, TRUE, PRED),
        (keras.losses.BinaryCrossentropy, {"from_logits": True}, TRUE.astype("int32"), 9 * PRED),
        (keras.losses.BinaryFocalCrossentropy, {"gamma": 1.5}, TRUE, PRED),
        (keras.losses.MeanSquaredError, {}, TRUE[:, :1], PRED[:, :1]),
    ],
)
def test_keras_losses_pass(cls, init_kwargs, y_true, y_pred):
    run_loss_test(cls, init_kwargs, y_true, y_pred)


def test_one_loss_a_pixel_passes():
    maps = np.stack([TRUE, PRED])
    run_loss_test(PowerError, {}, maps, 1.0 - maps)


@register
class PointError(PowerError):
    def call(self, y_true, y_pred):
        return ops.square(y_true - y_pred)


def test_predictions_of_rank_one_pass():
    run_loss_test(PointError, {}, TRUE[:, 0], PRED[:, 0])


# --- config -------------------------------------------------------------------------------------


@register
class MissingArgument(PowerError):
    def __init__(self, power=2, reduction="sum_over_batch_size", name="power_error", dtype=None):
        super().__init__(power, reduction, name, dtype)

    def get_config(self):
        return keras.losses.Loss.get_config(self)


class Unregistered(PowerError):
    pass


def test_config_faults_are_caught():
    fails(MissingArgument, r"config: get_config lacks \['power'\]", {"power": 3})
    fails(Unregistered, "config: TypeError: Could not locate class 'Unregistered'")


def test_keras_huber_is_known_to_forget_its_delta():
    fails(keras.losses.Huber, r"get_config lacks \['delta'\]", {"delta": 0.5})


# --- reduction and weights ----------------------------------------------------------------------


@register
class AlwaysMean(PowerError):
    def call(self, y_true, y_pred):
        return ops.mean(super().call(y_true, y_pred))


@register
class IgnoresReduction(PowerError):
    def __call__(self, y_true, y_pred, sample_weight=None):
        losses = super().__call__(y_true, y_pred, sample_weight)
        return losses / len(y_true) if self.reduction == "sum" else losses


@register
class IgnoresSampleWeight(PowerError):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, y_pred)


@register
class DividesByWeights(PowerError):
    """Weighted means are right, but not under weights of zero."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is None or self.reduction != "mean_with_sample_weight":
            return super().__call__(y_true, y_pred, sample_weight)
        tensors = map(ops.convert_to_tensor, (y_true, y_pred, sample_weight))
        y_true, y_pred, sample_weight = tensors
        return ops.sum(self.call(y_true, y_pred) * sample_weight) / ops.sum(sample_weight)


@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (AlwaysMean, "reduction: call gives a scalar"),
        (IgnoresReduction, "reduction: reduction='sum': values differ"),
        (IgnoresSampleWeight, "sample_weight: weighted loss with reduction='none': values differ"),
        (DividesByWeights, "loss under zero weights with reduction='mean_with_sample_weight'"),
    ],
)
def test_reduction_faults_are_caught(cls, match):
    fails(cls, match)


# --- values -------------------------------------------------------------------------------------


@register
class HalfInside(PowerError):
    """Right in float32, beyond the range of float16 in float16."""

    scale = 1e3

    def call(self, y_true, y_pred):
        dtype = keras.config.dtype_policy().compute_dtype
        scaled = ops.cast(y_true, dtype) * self.scale - ops.cast(y_pred, dtype) * self.scale
        return ops.cast(ops.mean(scaled**2, axis=-1), "float32") * self.scale**-2


@register
class HalfInsideFarOff(HalfInside):
    scale = 1e2


def half_function(y_true, y_pred):
    error = ops.cast(y_true, y_pred.dtype) - y_pred
    return ops.mean((1e3 * error) ** 2, axis=-1) * 1e-6


def coarse_function(y_true, y_pred):
    scale = 1.1 if keras.backend.standardize_dtype(y_pred.dtype) == "float16" else 1.0
    return scale * power_error(y_true, y_pred)


@register
class NanLoss(PowerError):
    def call(self, y_true, y_pred):
        return super().call(y_true, y_pred) * float("nan")


def test_value_faults_are_caught():
    fails(PowerError, "expected value: the loss: values differ", expected=0.5)
    fails(PowerError, "expected value: the loss: values differ", expected=[0.1, 0.2, 0.3])
    fails(PowerError, "expected value: the loss: expected shape", expected=[0.1, 0.2])
    fails(NanLoss, "reduction: the loss is not finite")


def test_a_function_that_disagrees_is_caught():
    match = "function: the function, against the class: values differ"
    fails(PowerError, match, function=lambda t, p: 2.0 * power_error(t, p))
    fails(PowerError, match, {"power": 3}, function=lambda t, p, power: power_error(t, p, 2))


@pytest.mark.every_backend
def test_half_precision_inside_is_caught():
    fails(HalfInside, "float16: the loss is not finite")
    fails(PowerError, "float16: the function is not finite", function=half_function)
    fails(PowerError, "float16: the function: values differ", function=coarse_function)


# --- gradients ----------------------------------------------------------------------------------


@register
class Distance(PowerError):
    """The square root has no gradient where targets and predictions are equal."""

    def call(self, y_true, y_pred):
        return ops.sqrt(ops.sum((y_true - y_pred) ** 2, axis=-1))


@register
class Entropy(PowerError):
    def call(self, y_true, y_pred):
        return -ops.sum(y_true * ops.log(y_pred), axis=-1)


@register
class Counts(PowerError):
    def call(self, y_true, y_pred):
        return ops.mean(ops.sign(y_pred - y_true), axis=-1)


@register
class Constant(PowerError):
    def call(self, y_true, y_pred):
        return ops.mean(y_true, axis=-1)


def test_gradient_faults_are_caught():
    fails(Counts, "gradient: the gradient with respect to y_pred is zero everywhere")
    fails(Constant, "gradient: the (loss does not depend on|gradient .* y_pred is zero)")


def test_faults_at_the_edge_are_caught():
    run_loss_test(Distance, {}, TRUE, PRED)
    fails(
        Distance,
        "edge case 1: the gradient of y_pred is not finite",
        edge_cases=[(TRUE, PRED), (TRUE, TRUE)],
    )
    run_loss_test(Entropy, {}, TRUE, PRED)
    fails(Entropy, "edge case 0: the loss is not finite", edge_cases=[(TRUE, 0.0 * PRED)])


def test_a_value_that_is_lost_in_float16_at_the_edge_is_caught():
    run_loss_test(HalfInsideFarOff, {}, TRUE, PRED)
    edges = [(TRUE, 20.0 * PRED)]
    fails(HalfInsideFarOff, "edge case 0: the loss is not finite", edge_cases=edges)


# --- training -----------------------------------------------------------------------------------


@register
class BranchOnValues(PowerError):
    def call(self, y_true, y_pred):
        losses = super().call(y_true, y_pred)
        return losses if float(np.max(ops.convert_to_numpy(y_true))) > -1.0 else -losses


@register
class OtherInTraining(PowerError):
    """Sees the batch that `fit` gives, and not the one given here."""

    def call(self, y_true, y_pred):
        losses = super().call(y_true, y_pred)
        return losses if isinstance(y_true.shape[0], int) and not in_fit() else 2.0 * losses


def in_fit():
    import inspect

    return any(frame.function == "fit" for frame in inspect.stack())


@pytest.mark.skipif(not COMPILED, reason="Keras does not compile on PyTorch")
def test_a_loss_that_runs_only_eagerly_is_caught():
    fails(BranchOnValues, "(gradient|fit): ")


@pytest.mark.every_backend
def test_a_loss_that_fit_reports_otherwise_is_caught():
    fails(OtherInTraining, "fit: the loss reported by fit: values differ")


# --- the helper itself --------------------------------------------------------------------------


def test_one_sample_is_a_value_error():
    with pytest.raises(ValueError, match="Expected 2 or more samples"):
        run_loss_test(PowerError, {}, TRUE[:1], PRED[:1])


def test_the_dtype_policy_is_restored():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        run_loss_test(PowerError, {}, TRUE, PRED)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        fails(HalfInside, "float16")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
