"""One call that tests a loss the way kdl tests its own."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdl.testing import _checks, _gradients

_HALF_ATOL = 1e-2


def run_loss_test(
    cls: type[keras.losses.Loss],
    init_kwargs: dict,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    *,
    expected: Any = None,
    function: Callable | None = None,
    edge_cases: Sequence[tuple[np.ndarray, np.ndarray]] = (),
    atol: float = 1e-5,
) -> None:
    """Test a loss: config, values, reductions, weights, precision, gradients and training.

    The steps, in order:

    1. The config holds every constructor argument with the value given and nothing else, is JSON,
       and gives an equal loss back, by ``from_config`` and by Keras's serialization.
    2. With ``v`` the losses of ``reduction="none"``: ``"sum"`` gives ``Σv``,
       ``"sum_over_batch_size"`` and ``"mean"`` give ``Σv / n``, and ``None`` gives ``v``. With
       sample weights ``w`` they give ``Σwv``, ``Σwv / n`` and ``wv``, and
       ``"mean_with_sample_weight"`` gives ``Σwv / Σw``. Zero weights give 0.
    3. The values equal `expected`.
    4. `function` gives the values ``v``.
    5. Predictions in float16 under the policy ``mixed_float16`` give what the same numbers give in
       float32, from the class and from `function`. Left out for numbers beyond float16.
    6. The gradient with respect to `y_pred` is finite, and not all zero.
    7. Value and gradient are finite at `edge_cases`, and step 5 holds there for the class.
    8. One compiled training step runs, and reports the loss of `y_pred`.

    Python's and NumPy's random state, the dtype policy, ``floatx`` and the data format are left as
    they were.

    Args:
        cls: The loss class, registered with ``keras.saving.register_keras_serializable``.
        init_kwargs: Its constructor arguments.
        y_true: Targets, shape (n, …) with n at least 2.
        y_pred: Predictions, shape (n, …), away from the minimum of the loss.
        expected: What the loss gives: a scalar under the reduction of `init_kwargs`, or an array
            under ``reduction="none"``.
        function: The loss as a function ``function(y_true, y_pred, **arguments)`` without
            reduction, with the arguments of the class but ``name``, ``reduction`` and ``dtype``.
        edge_cases: Pairs ``(y_true, y_pred)`` where a loss may blow up, such as probabilities of
            0 and 1, or identical boxes.
        atol: Largest difference between values meant to be equal, absolute and relative.

    Raises:
        AssertionError: A step failed. The message names the class, the step and the finding.
        ValueError: There are fewer than two samples.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from kdl.testing import run_loss_test
        >>> run_loss_test(
        ...     keras.losses.MeanSquaredError,
        ...     {},
        ...     y_true=np.array([[1.0, 0.0], [0.0, 1.0]]),
        ...     y_pred=np.array([[0.5, 0.5], [0.0, 0.0]]),
        ...     expected=[0.25, 0.5],
        ...     function=keras.losses.mean_squared_error,
        ... )
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred, "float32")
    if min(len(y_true), len(y_pred)) < 2:
        raise ValueError(f"Expected 2 or more samples to tell reductions apart, got {len(y_true)}.")

    def create(**overrides):
        return cls(**{**init_kwargs, **overrides})

    def step(name):
        return _checks.step(cls.__name__, name)

    with _checks.preserved_state():
        with step("config"):
            _checks.check_config(create(), init_kwargs, ("name", "reduction"))
        with step("reduction"):
            values = _check_reductions(create, y_true, y_pred, atol)
        with step("sample_weight"):
            _check_sample_weight(create, y_true, y_pred, values, atol)
        if expected is not None:
            with step("expected value"):
                found = values if np.ndim(expected) else _numpy(create()(y_true, y_pred))
                _checks.check_close(found, np.asarray(expected), atol, "the loss")
        if function is not None:
            function = _without_reduction(function, init_kwargs)
            with step("function"):
                found = _numpy(function(y_true, y_pred))
                _checks.check_close(found, values, atol, "the function, against the class")
        with step("float16"):
            _check_half(create, function, y_true, y_pred)
        with step("gradient"):
            if not _gradient(create, y_true, y_pred).any():
                raise AssertionError("the gradient with respect to y_pred is zero everywhere.")
        for index, (edge_true, edge_pred) in enumerate(edge_cases):
            with step(f"edge case {index}"):
                _check_edge(create, np.asarray(edge_true), np.asarray(edge_pred, "float32"))
        with step("fit"):
            _check_fit(create(reduction="sum_over_batch_size"), y_true, y_pred, atol)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _check_reductions(create, y_true, y_pred, atol):
    values = _numpy(create(reduction="none")(y_true, y_pred))
    if not values.ndim:
        raise AssertionError("call gives a scalar. Return one loss a sample, and let Keras reduce.")
    _check_finite(values, "the loss")
    totals = {
        None: values,
        "sum": values.sum(),
        "sum_over_batch_size": values.mean(),
        "mean": values.mean(),
        "mean_with_sample_weight": values.mean(),
    }
    for reduction, total in totals.items():
        found = _numpy(create(reduction=reduction)(y_true, y_pred))
        _checks.check_close(found, total, atol, f"reduction={reduction!r}")
    return values


def _check_sample_weight(create, y_true, y_pred, values, atol):
    weights = np.linspace(0.5, 2.0, values.size, dtype="float32").reshape(values.shape)
    weighted = weights * values
    totals = {
        "none": weighted,
        "sum": weighted.sum(),
        "sum_over_batch_size": weighted.mean(),
        "mean_with_sample_weight": weighted.sum() / weights.sum(),
    }
    for reduction, total in totals.items():
        loss = create(reduction=reduction)
        found = _numpy(loss(y_true, y_pred, sample_weight=weights))
        _checks.check_close(found, total, atol, f"weighted loss with reduction={reduction!r}")
        nothing = _numpy(loss(y_true, y_pred, sample_weight=np.zeros_like(weights)))
        what = f"loss under zero weights with reduction={reduction!r}"
        _checks.check_close(nothing, np.zeros_like(total), atol, what)


def _without_reduction(function, init_kwargs):
    arguments = {k: v for k, v in init_kwargs.items() if k not in ("name", "reduction", "dtype")}

    def call(y_true, y_pred):
        tensors = map(keras.ops.convert_to_tensor, (y_true, y_pred))
        return function(*tensors, **arguments)

    return call


def _check_half(create, function, y_true, y_pred):
    if not _fits_half(y_pred):
        return
    half = y_pred.astype("float16")
    exact = _numpy(create(reduction="none")(y_true, half.astype("float32")))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = {"the loss": create(reduction="none")(y_true, half)}
        if function is not None:
            found["the function"] = function(y_true, half)
    finally:
        keras.config.set_dtype_policy("float32")
    for what, values in found.items():
        _check_finite(_numpy(values), what)
        _checks.check_close(_numpy(values), exact, _HALF_ATOL, what)


def _fits_half(array):
    return bool((np.abs(array) <= np.finfo("float16").max).all())


def _check_edge(create, y_true, y_pred):
    _check_finite(_numpy(create(reduction="none")(y_true, y_pred)), "the loss")
    _gradient(create, y_true, y_pred)
    _check_half(create, None, y_true, y_pred)


def _gradient(create, y_true, y_pred):
    loss = create(reduction="none")
    _, (gradient,) = _gradients.gradients(lambda p: loss(y_true, p), [], y_pred)
    if gradient is None:
        raise AssertionError("the loss does not depend on y_pred.")
    _gradients.check_finite_gradient(gradient, "y_pred")
    return gradient


def _check_finite(values, what):
    if not np.isfinite(values).all():
        raise AssertionError(f"{what} is not finite.")


def _check_fit(loss, y_true, y_pred, atol):
    expected = _numpy(loss(y_true, y_pred))
    model = _identity(y_pred.shape)
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=loss)
    history = model.fit(y_pred, y_true, batch_size=len(y_pred), shuffle=False, verbose=0)
    _checks.check_close(history.history["loss"][0], expected, atol, "the loss reported by fit")


def _identity(shape):
    """A trainable model that starts as the identity."""
    inputs = keras.Input(shape[1:])
    outputs = inputs if len(shape) > 1 else keras.layers.Reshape((1,))(inputs)
    outputs = keras.layers.Dense(outputs.shape[-1], kernel_initializer="identity")(outputs)
    if len(shape) == 1:
        outputs = keras.layers.Reshape(())(outputs)
    return keras.Model(inputs, outputs)
