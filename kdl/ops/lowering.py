"""How a convolution is carried out: the choice of the fastest equal form."""

import contextlib
import contextvars

import keras

LOWERINGS = ("auto", "native", "shift")

_forced = contextvars.ContextVar("kdl_lowering", default=None)


@contextlib.contextmanager
def lowering_scope(lowering):
    """Within this context every kdl convolution is carried out as `lowering`.

    Export uses `"native"`, so that a file holds the plain operation whatever was fastest to train.

    Args:
        lowering: `"native"` (the backend's own operation), `"shift"` (shifted multiply-adds), or
            `"auto"` (chosen by backend and device).

    Example:
        >>> with lowering_scope("native"):
        ...     resolve_lowering("shift")
        'native'
    """
    token = _forced.set(check_lowering(lowering))
    try:
        yield
    finally:
        _forced.reset(token)


def check_lowering(lowering):
    """Returns `lowering`, or raises ValueError if there is no such lowering."""
    if lowering not in LOWERINGS:
        raise ValueError(f"lowering must be one of {LOWERINGS}; received {lowering!r}.")
    return lowering


def resolve_lowering(lowering):
    """The lowering in force: that of the enclosing `lowering_scope`, else `lowering` itself."""
    return _forced.get() or check_lowering(lowering)


def on_xla_cpu():
    """Whether operations will be compiled by XLA for a CPU: JAX without an accelerator."""
    if keras.backend.backend() != "jax":
        return False
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())
