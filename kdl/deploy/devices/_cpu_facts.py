"""Facts for the rules for CPUs: each gives a text of what it found, or nothing.

The limits are those of XNNPACK, as `tests/deploy/cpu_zoo.py` finds them on both sides of each.
"""

from kdl.deploy.devices._cpu_table import KERNEL, NOTHING, cpu_table, measured_way
from kdl.deploy.devices._operation_facts import other_custom, widens_constants

_INTEGERS = ("INT8", "UINT8")


def absent(operation):
    """An operation that the runtime has no kernel of."""
    name = operation.name
    known = cpu_table()["versions"]
    return "" if ":" in name or name in known else name


def absent_custom(operation):
    """A custom operation that the runtime does not have."""
    custom = other_custom(operation)
    return "" if custom in cpu_table()["operations"] else custom


def too_new(operation):
    """A version of an operation that the runtime does not have."""
    newest = cpu_table()["versions"].get(operation.name)
    if newest is None or operation.version <= newest:
        return ""
    return f"version {operation.version} of {operation.name}"


def without_kernel(operation):
    """Types that the runtime does not compute with."""
    return _types(operation) if measured_way(operation) == NOTHING else ""


def left_to_kernels(operation):
    """Types that XNNPACK leaves to TFLite's own kernels."""
    return _types(operation) if measured_way(operation) == KERNEL else ""


def unmeasured(operation):
    """Types that nothing is known of."""
    return _types(operation) if measured_way(operation) is None else ""


def computed_half(operation):
    """A DEQUANTIZE of computed float16 numbers."""
    half = operation.inputs[0]
    if half.type != "FLOAT16" or widens_constants(operation):
        return ""
    return f"{half.label} is {half}"


def zero_slope(operation):
    """A leaky ReLU that does not leak."""
    return "a slope of 0" if operation.option("alpha", 0.0) == 0 else ""


def extreme_slope(operation):
    """An integer leaky ReLU whose slope is too steep or too flat for its scales."""
    scales = _scales(operation, 0)
    if not scales:
        return ""
    alpha = operation.option("alpha", 0.0)
    slope = alpha * scales[0] / scales[1]
    if abs(slope) >= 1 / 256 and -128 < slope <= 128:
        return ""
    return f"a slope of {alpha:g}"


def ratio_outside(least, most, inclusive=False):
    """Integers whose input scales are too small or too large beside the output scale."""

    def when(operation):
        for position, x in enumerate(operation.inputs[:2]):
            scales = _scales(operation, position) if x is not None else ()
            if scales and _outside(scales[0] / scales[1], least, most, inclusive):
                return f"{scales[0]:.3g} and {scales[1]:.3g}"
        return ""

    return when


def product_ratio_outside(least, most):
    """Integers of which the product of the input scales is so beside the output scale."""

    def when(operation):
        one, other = _scales(operation, 0), _scales(operation, 1)
        if not one or not other or not _outside(one[0] * other[0] / one[1], least, most):
            return ""
        return f"{one[0]:.3g}, {other[0]:.3g} and {one[1]:.3g}"

    return when


def _outside(ratio, least, most, inclusive=False):
    return ratio < least or ratio > most or (ratio == most and not inclusive)


def _scales(operation, position):
    """Scale of an integer input, and of the first output; empty if they are no integers."""
    x, y = operation.input(position), operation.outputs[0]
    if x is None or x.type not in _INTEGERS or not x.scale or not y.scale:
        return ()
    return x.scale, y.scale


def changed_scale(operation):
    """Integers that are moved only, from one scale or zero point to another."""
    for x in operation.inputs:
        if x is None or x.type not in _INTEGERS or not x.scale:
            continue
        for y in operation.outputs:
            if (x.scale, x.zero_point) != (y.scale, y.zero_point):
                return (
                    f"scale {x.scale:.3g}, zero point {x.zero_point} to "
                    f"scale {y.scale:.3g}, zero point {y.zero_point}"
                )
    return ""


def steps_beyond_window(operation):
    """A pooling that steps over pixels."""
    steps = [operation.option(f"stride{axis}", 1) for axis in "HW"]
    sizes = [operation.option(f"filter{axis}", 1) for axis in ("Height", "Width")]
    if all(step <= size for step, size in zip(steps, sizes, strict=True)):
        return ""
    return f"{steps[0]}×{steps[1]}, windows of {sizes[0]}×{sizes[1]}"


def negative_sizes(operation):
    """A slice up to the end."""
    sizes = operation.inputs[2].values
    return "a size of -1" if sizes is not None and (sizes < 0).any() else ""


def float_rank_above(limit):
    """A float input of more than `limit` axes."""

    def when(operation):
        return _first(x for x in operation.inputs[:1] if x.rank > limit and "FLOAT" in x.type)

    return when


def _types(operation):
    sides = [
        ", ".join(dict.fromkeys(x.type.lower() for x in side if x is not None)) or "nothing"
        for side in (operation.inputs, operation.outputs)
    ]
    return f"{operation.name} of {sides[0]} to {sides[1]}"


def _first(tensors):
    return next((f"{x.label} is {x}" for x in tensors), "")
