"""One call that tests a model class the way kdl tests its own."""

import json
import math
import re
from collections.abc import Sequence

import keras
import numpy as np

from kdl.testing import _checks, _gradients


def run_model_test(
    cls: type[keras.Model],
    init_kwargs: dict,
    input_shape: Sequence[int],
    *,
    expected_output_shape: Sequence[int] | None = None,
    expected_parameters: int | None = None,
    pyramid: bool = True,
    pyramid_margin: int = 0,
    zero_gradient: Sequence[str] = (),
    atol: float = 1e-5,
) -> None:
    """Test a class of functional models with the constructor of ``keras.applications``.

    The steps, in order:

    1. The config holds every constructor argument with the value given and nothing else, with
       ``weights=None``, is JSON, and gives an equal model back, by ``from_config`` and by Keras's
       serialization. The rebuilt model gives the same outputs from the same weights, and so does
       the model of ``to_json``. All layers are built, those within layers too.
    2. The output has `expected_output_shape`, and ``model.output_shape`` says so.
    3. The number of trainable parameters is `expected_parameters`.
    4. ``model.pyramid_outputs`` maps ``"Pn"`` to a tensor of the model with ``ceil(size / 2**n)``
       rows and columns, or up to `pyramid_margin` fewer.
    5. With ``include_top=False`` the output is a feature map, of which ``pooling="avg"`` and
       ``pooling="max"`` are the mean and the maximum. Tried if the constructor has both arguments.
    6. ``keras.models.clone_model`` gives weights of the same shapes.
    7. One compiled training step runs, with every weight moved a little off its initial value.
    8. The gradients of that step are finite for all trainable weights, and not all zero.
    9. A ``.keras`` file gives back weights and outputs, equal to the bit.

    Python's and NumPy's random state, the dtype policy, ``floatx`` and the data format are left as
    they were. Weights and inputs are the same in every run.

    Args:
        cls: The model class, registered with ``keras.saving.register_keras_serializable``.
        init_kwargs: Its constructor arguments.
        input_shape: Shape of a batch of images, with a batch size of at least 2. Small images
            keep the test fast. Passed to the constructor without the batch size, if that has an
            argument ``input_shape`` and `init_kwargs` has not.
        expected_output_shape: Shape of the output for such a batch.
        expected_parameters: Number of trainable parameters.
        pyramid: Whether the model has ``pyramid_outputs``.
        pyramid_margin: By how many pixels a level of the pyramid may be smaller than
            ``ceil(size / 2**n)``, as in networks that do not pad.
        zero_gradient: Names, or ends of paths, of trainable weights whose gradient may be zero.
        atol: Largest difference between values meant to be equal, absolute and relative.

    Raises:
        AssertionError: A step failed. The message names the class, the step and the finding.
        ValueError: The batch has fewer than two images.

    Example:
        >>> import keras
        >>> from kdl.testing import run_model_test
        >>> @keras.saving.register_keras_serializable("example")
        ... class Tiny(keras.Model):
        ...     def __init__(self, units=2, input_shape=(4,), name="tiny"):
        ...         inputs = keras.Input(input_shape)
        ...         super().__init__(inputs, keras.layers.Dense(units)(inputs), name=name)
        ...         self.arguments = {"units": units, "input_shape": input_shape, "name": name}
        ...
        ...     def get_config(self):
        ...         return dict(self.arguments)
        >>> run_model_test(Tiny, {"units": 3}, (2, 4), expected_parameters=15, pyramid=False)
    """
    if input_shape[0] < 2:
        raise ValueError(f"Expected a batch of 2 or more, got the input shape {input_shape}.")
    arguments = dict(init_kwargs)
    known = _checks.named_arguments(cls)
    if "input_shape" in known:
        arguments.setdefault("input_shape", tuple(input_shape[1:]))
    images = _checks.random_array(input_shape)

    def step(name):
        return _checks.step(cls.__name__, name)

    with _checks.preserved_state():
        with step("config"):
            model = cls(**arguments)
            _check_config(model, arguments)
        with step("all layers built"):
            _checks.check_built(model)
        with step("rebuilt from config"):
            _check_rebuilt(model, images, atol)
        with step("output shape"):
            _check_output_shape(model, images, expected_output_shape)
        if expected_parameters is not None:
            with step("parameters"):
                _check_parameters(model, expected_parameters)
        if pyramid:
            with step("pyramid"):
                _check_pyramid(model, images, pyramid_margin)
        if {"include_top", "pooling"} <= {*known}:
            with step("include_top=False"):
                _check_pooling(cls, arguments, images, atol)
        with step("clone"):
            _check_clone(model)
        with step("fit"):
            _checks.move_weights(model)
            found = _gradients.fit_gradients(model, images)
        with step("gradient"):
            _gradients.check_found_gradients(model.trainable_variables, found, zero_gradient)
        with step("save and load"):
            _checks.check_reload(model, images)


def _check_config(model, arguments):
    _checks.check_config(model, arguments, ("name",))
    weights = model.get_config().get("weights")
    if weights is not None:
        raise AssertionError(
            f"get_config holds weights={weights!r}: return None, so that a reload never downloads."
        )


def _check_rebuilt(model, images, atol):
    config = json.loads(_checks.config_json(model))
    expected = _checks.to_numpy(model(images))
    for copied in (type(model).from_config(config), keras.models.model_from_json(model.to_json())):
        _checks.copy_variables(model, copied)
        outputs = _checks.to_numpy(copied(images))
        _checks.check_close(outputs, expected, atol, "outputs from the same weights")


def _check_output_shape(model, images, expected):
    outputs = model(images)
    _checks.check_no_nan(outputs, "the output")
    real = [tuple(o.shape) for o in keras.tree.flatten(outputs)]
    symbolic = [(len(images), *o.shape[1:]) for o in model.outputs]
    if symbolic != real:
        raise AssertionError(f"model.output_shape promises {symbolic}, the outputs have {real}.")
    if expected is not None and real != [tuple(expected)]:
        raise AssertionError(f"expected the output shape {tuple(expected)}, got {real}.")


def _check_parameters(model, expected):
    trainable, fixed = (
        sum(math.prod(w.shape) for w in weights)
        for weights in (model.trainable_weights, model.non_trainable_weights)
    )
    if trainable != expected:
        raise AssertionError(
            f"expected {expected:,} trainable parameters, got {trainable:,}, and {fixed:,} that "
            "are not trainable."
        )


def _spatial(model, array):
    """Rows and columns of a feature map in the data format of the model."""
    name = model.get_config().get("data_format") or keras.config.image_data_format()
    return array.shape[2:] if name == "channels_first" else array.shape[1:-1]


def _check_pyramid(model, images, margin):
    levels = getattr(model, "pyramid_outputs", None)
    if not isinstance(levels, dict) or not levels:
        raise AssertionError(f"expected a dict in model.pyramid_outputs, got {levels!r}.")
    wrong = [name for name in levels if not re.fullmatch(r"P[1-9]", str(name))]
    if wrong:
        raise AssertionError(f"pyramid_outputs has the keys {wrong}, expected 'P1' to 'P9'.")
    features = keras.Model(model.input, dict(levels))(images)
    size = _spatial(model, images)
    for name, feature in features.items():
        wanted = tuple(math.ceil(side / 2 ** int(name[1:])) for side in size)
        found = tuple(_spatial(model, feature))
        if any(not n - margin <= side <= n for n, side in zip(wanted, found, strict=True)):
            fewer = f", or up to {margin} fewer" if margin else ""
            raise AssertionError(
                f"{name} of {size} pixels is {wanted}{fewer}; pyramid_outputs has {found}."
            )


def _check_pooling(cls, arguments, images, atol):
    features = cls(**{**arguments, "include_top": False, "pooling": None})
    expected = _checks.to_numpy(features(images))
    if expected.ndim != 4:
        raise AssertionError(f"expected a feature map of rank 4, got the shape {expected.shape}.")
    sides = (2, 3) if _spatial(features, expected) == expected.shape[2:] else (1, 2)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = cls(**{**arguments, "include_top": False, "pooling": pooling})
        _checks.copy_variables(features, pooled)
        outputs = _checks.to_numpy(pooled(images))
        _checks.check_close(outputs, reduce(expected, sides), atol, f"pooling={pooling!r}")


def _check_clone(model):
    clone = keras.models.clone_model(model)
    shapes = [[tuple(w.shape) for w in each.weights] for each in (model, clone)]
    if shapes[0] != shapes[1]:
        raise AssertionError(f"expected weights of shapes {shapes[0]}, the clone has {shapes[1]}.")
