"""Lowering of operations: the choice of the fastest equal form."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence

import keras

from kdl._checks import check_choice

LOWERINGS = ("auto", "native", "matmul", "shift", "split", "device")

_forced: contextvars.ContextVar[str | None] = contextvars.ContextVar("kdl_lowering", default=None)


@contextlib.contextmanager
def lowering_scope(lowering: str) -> Iterator[None]:
    """Context in which every kdl layer with a `lowering` is carried out that way.

    Export uses `"device"`, so that a file holds what devices run, whatever was fastest to train.

    Args:
        lowering: `"native"` (the backend's own operation), `"matmul"` (a convolution as a product
            of matrices), `"shift"` (a depthwise convolution or a max-pool as an operation on
            shifted slices), `"split"` (a grouped convolution as several plain ones),
            `"device"` (the plain operation, except for those that mobile GPUs get wrong), or
            `"auto"` (chosen by backend and device).

    Raises:
        ValueError: If there is no such lowering.

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


def check_lowering(lowering: str, known: Sequence[str] = LOWERINGS) -> str:
    """Return `lowering`, or raise ValueError if it is not one of `known`."""
    return check_choice("lowering", lowering, known)


def resolve_lowering(lowering: str, known: Sequence[str] = LOWERINGS) -> str:
    """The lowering in force: that of the enclosing `lowering_scope` if known, else its own."""
    own = check_lowering(lowering, known)
    forced = _forced.get()
    return own if forced is None or forced not in known else forced


def on_xla_cpu() -> bool:
    """Tell whether operations will be compiled by XLA for a CPU: JAX without an accelerator."""
    if keras.backend.backend() != "jax":
        return False
    return all(device.startswith("cpu") for device in keras.distribution.list_devices())
