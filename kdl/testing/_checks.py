"""Checks that several helpers of this package share. Each raises AssertionError when it fails."""

import contextlib
import inspect
import json
import math
import random
import re
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np

from kdl._compat import all_layers

_KERAS_BASES = (keras.layers.Layer, keras.losses.Loss, keras.Model)


@contextlib.contextmanager
def step(subject, name):
    """Name the subject and the step in every failure, whatever was raised inside."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{subject}, {name}: {error}") from error
    except Exception as error:
        # Keras prints parts of its messages in bold, and adds all arguments of the failed call.
        text = re.sub(r"\x1b\[\d+m", "", str(error)).split("\n\nArguments received by")[0]
        raise AssertionError(f"{subject}, {name}: {type(error).__name__}: {text}") from error


@contextlib.contextmanager
def preserved_state(seed=0):
    """Run in float32 and repeatably, and leave the caller's global settings as they were.

    Keras draws the default seed of initializers and seed generators from Python's ``random``.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    floatx, data_format = keras.config.floatx(), keras.config.image_data_format()
    policy = keras.config.dtype_policy()
    random.seed(seed)
    np.random.seed(seed)
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        keras.config.set_floatx(floatx)
        keras.config.set_image_data_format(data_format)
        keras.config.set_dtype_policy(policy)


def random_array(shape, dtype="float32", seed=0):
    """Normal floats, or zeros and ones for integers and booleans."""
    rng = np.random.default_rng(seed)
    if "float" in dtype:
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def single_precision(values):
    array = np.asarray(values)
    return array.astype("float32") if array.dtype == "float64" else array


def to_numpy(structure):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, structure)


def is_float(tensor):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))


def apply(target, inputs, **options):
    """Call a layer or model. A layer takes a dict of inputs as its named call arguments."""
    if isinstance(inputs, dict) and not isinstance(target, keras.Model):
        return target(**inputs, **options)
    return target(inputs, **options)


def check_close(actual, expected, atol, what):
    """Compare two structures of arrays: ``|actual - expected| <= atol * (1 + |expected|)``."""
    actual, expected = keras.tree.flatten(actual), keras.tree.flatten(expected)
    if len(actual) != len(expected):
        raise AssertionError(f"{what}: expected {len(expected)} tensors, got {len(actual)}.")
    for one, other in zip(actual, expected, strict=True):
        one, other = np.asarray(one, "float64"), np.asarray(other, "float64")
        if one.shape != other.shape:
            raise AssertionError(f"{what}: expected shape {other.shape}, got {one.shape}.")
        if not np.allclose(one, other, rtol=atol, atol=atol, equal_nan=True):
            with np.errstate(invalid="ignore"):
                worst = np.max(np.abs(one - other))
            raise AssertionError(f"{what}: values differ by up to {worst:.3g}, allowed {atol:g}.")


def check_no_nan(outputs, what):
    for output in keras.tree.flatten(to_numpy(outputs)):
        if np.isnan(np.asarray(output, "float64")).any():
            raise AssertionError(f"{what} holds NaN.")


def copy_variables(source, target):
    """Give `target` the values of `source`: weights and random seeds alike."""
    have = [tuple(v.shape) for v in target.variables]
    want = [tuple(v.shape) for v in source.variables]
    if have != want:
        raise AssertionError(f"expected variables of shapes {want}, got {have}.")
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(keras.ops.convert_to_numpy(old))


# --- config ---------------------------------------------------------------------------------


def config_json(target):
    config = target.get_config()
    try:
        return json.dumps(config, sort_keys=True)
    except TypeError as error:
        raise AssertionError(
            f"get_config is not JSON ({error}). Serialize objects with "
            "keras.saving.serialize_keras_object."
        ) from error


def check_same_config(before, after, what):
    """Compare two texts of `config_json`, and name the keys that differ."""
    if before == after:
        return
    before, after = json.loads(before), json.loads(after)
    keys = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
    changes = ", ".join(f"{k!r} from {before.get(k)!r} to {after.get(k)!r}" for k in keys)
    raise AssertionError(f"{what} changed the config: {changes}.")


def check_config(target, init_kwargs, base):
    """Config: complete, true to `init_kwargs`, JSON, and rebuilt equal from JSON and by Keras."""
    before = config_json(target)
    config = json.loads(before)
    _check_config_keys(type(target), init_kwargs, config, base)
    _check_config_values(init_kwargs, config)
    check_same_config(before, config_json(type(target).from_config(config)), "from_config")
    serialized = json.dumps(keras.saving.serialize_keras_object(target))
    revived = keras.saving.deserialize_keras_object(json.loads(serialized))
    if type(revived) is not type(target):
        raise AssertionError(f"serialization gave back another class, {type(revived)}.")


def named_arguments(cls):
    """Arguments of the constructor, with those that its **kwargs hand on to base classes."""
    found = {}
    for owner in cls.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = list(inspect.signature(owner.__init__).parameters.values())[1:]
        kinds = [p.kind for p in parameters]
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        found = {**{p.name: p.default for p in parameters if p.kind in named}, **found}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return found


def _check_config_keys(cls, init_kwargs, config, base):
    known = named_arguments(cls)
    owner = next(each for each in cls.__mro__ if "__init__" in vars(each))
    own = [] if owner in _KERAS_BASES else list(inspect.signature(cls.__init__).parameters)[1:]
    # An argument left at None may be absent: rebuilding without it gives the same object.
    needed = [n for n in own if n in known and (n in init_kwargs or known[n] is not None)]
    missing = sorted({*needed, *base} - {*config})
    if missing:
        raise AssertionError(f"get_config lacks {missing}. Return every constructor argument.")
    extra = sorted({*config} - {*known, *base})
    refused = [key for key in extra if not _takes(cls, {**init_kwargs, key: config[key]})]
    if refused:
        raise AssertionError(f"get_config holds {refused}, which the constructor does not take.")


def _takes(cls, arguments):
    try:
        cls(**arguments)
    except (TypeError, ValueError):
        return False
    return True


def _check_config_values(init_kwargs, config):
    """Numbers must come back as given. Other arguments may be normalized by the constructor."""
    for name, given in init_kwargs.items():
        before, after = _numbers(given), _numbers(config.get(name))
        if len(before) == len(after) and before != after:
            raise AssertionError(f"get_config gives {name}={config[name]!r}, not {given!r}.")


def _numbers(value):
    values = value if isinstance(value, list | tuple) else [value]
    return list(values) if all(isinstance(v, int | float) for v in values) else []


# --- models -------------------------------------------------------------------------------------


def check_fit(model, inputs):
    """Run one compiled training step under mean squared error, with Keras's choice of compiler."""
    outputs = keras.tree.flatten(model.outputs)
    if not model.trainable_weights:
        outputs = [keras.layers.Dense(1)(o) for o in outputs if is_float(o) and len(o.shape) > 1]
    if not outputs:
        model.predict(inputs, verbose=0)
        return
    trained = keras.Model(model.input, outputs)
    targets = [random_array(tuple(o.shape)) for o in keras.tree.flatten(trained(inputs))]
    trained.compile(optimizer="sgd", loss=["mse"] * len(outputs))
    check_fit_step(trained, inputs, targets)


def check_fit_step(model, inputs, targets):
    """One step of the compiled `model` on the whole batch ends with a finite loss."""
    size = len(targets[0])
    with warnings.catch_warnings():
        # The gradient check says the same of undeclared weights, on every backend.
        warnings.filterwarnings("ignore", "Gradients do not exist for variables")
        history = model.fit(inputs, targets, batch_size=size, shuffle=False, verbose=0)
    loss = history.history["loss"][0]
    if not math.isfinite(loss):
        raise AssertionError(f"the training loss is {loss}.")


def check_built(model):
    """All layers of a model are built, those within layers too, as tools of Keras require it."""
    late = [layer.path or layer.name for layer in all_layers(model) if not layer.built]
    if late:
        raise AssertionError(
            f"these layers are not built once the model is: {late}. Build them in build(), or "
            "model.quantize refuses the model."
        )


def check_reload(model, inputs):
    """Save as ``.keras`` and load: weights and outputs are equal to the bit."""
    move_weights(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.saving.load_model(path, compile=False)
    for old, new in zip(model.weights, loaded.weights, strict=True):
        if not np.array_equal(*to_numpy([old.value, new.value]), equal_nan=True):
            raise AssertionError(
                f"weight {old.path!r} came back with other values. Make weights in build(), and "
                "let save_own_variables write them all."
            )
    # Weights are equal by now. Keras does not save the state of random seeds.
    copy_variables(model, loaded)
    before, after = (keras.tree.flatten(to_numpy(m(inputs))) for m in (model, loaded))
    if not all(map(np.array_equal, before, after)):
        raise AssertionError(
            "all weights came back, yet the outputs differ. State lives outside the weights, or "
            "the config does not tell all."
        )


def move_weights(model):
    """Move every float weight a little off its initial value, and none across zero."""
    rng = np.random.default_rng(0)
    for weight in filter(is_float, model.weights):
        value = keras.ops.convert_to_numpy(weight)
        noise = rng.uniform(0.01, 0.05, value.shape)
        weight.assign(np.where(value == 0, noise, value * (1 + noise)))
