"""Checks of a layer in the other data format and in half precision."""

import keras
import numpy as np

from kdl.testing import _checks

# How far, relative to the norm of the float32 outputs, half precision may go.
ROUNDING = {"mixed_bfloat16": 0.1, "mixed_float16": 0.05}


def check_data_format(case, layer):
    name = layer.get_config().get("data_format") or keras.config.image_data_format()
    other = {"channels_last": "channels_first", "channels_first": "channels_last"}[name]
    rank = max(array.ndim for array in keras.tree.flatten(case.inputs))
    start, end = (-1, 1) if other == "channels_first" else (1, -1)

    def move(array, start, end):
        return np.moveaxis(array, start, end) if array.ndim == max(rank, 3) else array

    copied = case.create(data_format=other)
    inputs = keras.tree.map_structure(lambda a: move(a, start, end), case.inputs)
    try:
        case.call(copied, inputs)
    except Exception:
        if _runs_convolution(data_format=other):
            raise
        return
    _checks.copy_variables(layer, copied)
    outputs = _checks.to_numpy(case.call(copied, inputs))
    outputs = keras.tree.map_structure(lambda a: move(a, end, start), outputs)
    expected = _checks.to_numpy(case.call(layer))
    _checks.check_close(outputs, expected, case.atol, f"outputs in {other}")


def _runs_convolution(dtype="float32", data_format="channels_last"):
    try:
        image, kernel = keras.ops.ones((1, 2, 2, 2), dtype), keras.ops.ones((1, 1, 2, 2), dtype)
        keras.ops.conv(image, kernel, data_format=data_format)
    except Exception:
        return False
    return True


def check_mixed_precision(case, layer, policy):
    dtype = policy.removeprefix("mixed_")
    if not _runs_convolution(dtype=dtype):
        return
    copied = case.create(dtype=policy)
    case.call(copied)
    _checks.copy_variables(layer, copied)
    for old, new in zip(layer.variables, copied.variables, strict=True):
        if new.dtype != old.dtype:
            raise AssertionError(f"weight {new.path!r} is {new.dtype}, expected {old.dtype}.")
    outputs = [keras.tree.flatten(case.call(each)) for each in (layer, copied)]
    for real, half in zip(*outputs, strict=True):
        _check_half(real, half, dtype, ROUNDING[policy])


def _check_half(real, half, dtype, allowed):
    wanted = dtype if _checks.is_float(real) else keras.backend.standardize_dtype(real.dtype)
    found = keras.backend.standardize_dtype(half.dtype)
    if found != wanted:
        raise AssertionError(f"the output is {found}, expected {wanted}.")
    if not _checks.is_float(real):
        return
    real, half = (np.asarray(a, "float64") for a in _checks.to_numpy([real, half]))
    error, norm = np.linalg.norm(half - real), np.linalg.norm(real)
    # NaN compares false, and so fails.
    if not error <= allowed * norm + 1e-3:
        raise AssertionError(
            f"the output is {error:.3g} away from float32, allowed {allowed:.0%} of {norm:.3g}."
        )
