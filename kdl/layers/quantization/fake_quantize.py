"""Activations as a file of few bits will hold them."""

import contextlib
import contextvars
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdl._checks import check_choice, check_integer
from kdl._deprecation import renamed_attribute
from kdl._typing import Shape, Tensor
from kdl.ops.lowering import lowering_scope, resolve_lowering
from kdl.ops.quantization import check_bits, fake_quantize
from kdl.ops.replicas import batch_gather

OBSERVERS = ("ema", "min_max")

_observed_by = contextvars.ContextVar("kdl_observed_by", default=None)


@contextlib.contextmanager
def ranges_observed_by(observe):
    """Within it `FakeQuantize` layers give their input as it is, once they have shown it.

    Args:
        observe: Called as `observe(layer, site, inputs)`.
    """
    token = _observed_by.set(observe)
    try:
        yield
    finally:
        _observed_by.reset(token)


@keras.saving.register_keras_serializable("kdl")
class FakeQuantize(keras.layers.Layer):
    """Rounds its input to `2^bits` values of an observed range.

    With the range `[low, high]` the output is `kdl.ops.fake_quantize(x, low, high)`. In training
    the range follows the batches: with `"ema"`, `low ← m·low + (1 − m)·min(x)` and `high`
    likewise; with `"min_max"` it grows to hold all that was seen. The first batch sets it, an
    empty one leaves it. It always holds zero. Where `trainable` is False it stays as it is.

    One layer may serve several tensors that must share a range, as those that a concatenation
    joins. Each is a site with ends of its own, and the range is the union of all.

    Shapes: any; output and dtype are those of the input. Before any range was observed or set the
    output is zero.

    Args:
        bits: Integer from 2 to 16. Defaults to 8.
        observer: `"ema"` (default) or `"min_max"`.
        momentum: `m` above, from 0 to 1. Defaults to 0.99.
        sites: Number of tensors that share the range. Defaults to 1.
        fixed_range: Pair `(low, high)` that replaces what would be observed, for outputs whose
            range is known, as a sigmoid's.
        **kwargs: `name`, `dtype` and `trainable`, as in every Keras layer.

    Raises:
        ValueError: If an argument is out of range, or `fixed_range` does not hold zero.

    Source: Jacob et al. (arXiv 1712.05877), section 3.1.

    Example:
        >>> import numpy as np
        >>> layer = FakeQuantize(bits=2)
        >>> y = layer(np.array([[-1.0, 0.2, 0.7, 2.0]], "float32"), training=True)
        >>> [float(value) for value in y[0]]
        [-1.0, 0.0, 1.0, 2.0]
    """

    def __init__(
        self,
        bits: int = 8,
        observer: str = "ema",
        momentum: float = 0.99,
        sites: int = 1,
        fixed_range: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("observer", observer, OBSERVERS)
        sites = check_integer("sites", sites)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be from 0 to 1; received {momentum!r}.")
        if fixed_range is not None and not _holds_zero(*fixed_range):
            raise ValueError(
                f"fixed_range must be a pair (low, high) with low < high that holds zero; received "
                f"{fixed_range!r}."
            )
        self.bits = check_bits("bits", bits)
        self.observer = observer
        self.momentum = momentum
        self.sites = sites
        self.fixed_range = None if fixed_range is None else tuple(fixed_range)
        self.supports_masking = True

    def build(self, input_shape: Shape) -> None:
        """Makes the ends of the range, one pair a site."""
        if self.fixed_range is None:
            self.low, self.high = (
                self.add_weight(
                    name=name,
                    shape=(self.sites,),
                    dtype="float32",
                    initializer="zeros",
                    trainable=False,
                    autocast=False,  # a range does not fit into half precision
                    aggregation="mean",
                )
                for name in ("low", "high")
            )

    def call(
        self, inputs: Tensor, site: int = 0, ties: Any = None, training: bool | None = None
    ) -> Tensor:
        """Rounds `inputs`; `site` tells which of the tensors they are, `ties` where halves go."""
        if observe := _observed_by.get():
            observe(self, site, inputs)
            return inputs
        if training and self.trainable and self.fixed_range is None:
            self._observe(ops.stop_gradient(inputs), site)
        lowering = resolve_lowering("native" if training else "auto")
        if lowering == "device":
            ties = None  # where halves go, the file's own operations know
        with lowering_scope(lowering):
            return fake_quantize(inputs, *self.range, self.bits, ties=ties)

    @property
    def range(self) -> tuple[Any, Any]:
        """Pair `(low, high)` of what all sites hold."""
        if self.fixed_range is not None:
            low, high = self.fixed_range
            return low, high
        return ops.min(self.low), ops.max(self.high)

    @property
    def scale(self) -> float:
        """Difference of neighboring values, as a float: the scale of the quantized tensor."""
        low, high = self.range
        return float(high - low) / (2**self.bits - 1)

    step = renamed_attribute("step", "scale")

    def _observe(self, inputs, site):
        low, high, is_empty = _ends_of_batch(inputs)
        old = self.low[site], self.high[site]
        first = ops.equal(old[0], old[1])
        here = ops.logical_and(ops.equal(ops.arange(self.sites), site), ops.logical_not(is_empty))
        for end, before, now in ((self.low, old[0], low), (self.high, old[1], high)):
            now = ops.where(first, now, self._follow(end, before, now))
            end.assign(ops.where(here, now, ops.convert_to_tensor(end)))

    def _follow(self, end, before, now):
        if self.observer == "min_max":
            return ops.minimum(before, now) if end is self.low else ops.maximum(before, now)
        return self.momentum * before + (1 - self.momentum) * now

    def compute_output_spec(
        self, inputs: Tensor, site: int = 0, ties: Any = None, training: bool | None = None
    ) -> keras.KerasTensor:
        """The shape and dtype of the input, known without a call."""
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "bits": self.bits,
            "observer": self.observer,
            "momentum": self.momentum,
            "sites": self.sites,
            "fixed_range": self.fixed_range,
        }


def _ends_of_batch(inputs):
    """Smallest and largest value of a batch, on all devices, and whether it is empty."""
    ends = [-ops.min(inputs, initial=0.0), ops.max(inputs, initial=0.0), ops.size(inputs) > 0]
    parts, _ = batch_gather(ops.stack([ops.cast(end, "float32") for end in ends])[None])
    low, high, filled = ops.unstack(ops.max(parts, axis=0), 3)
    return -low, high, filled == 0


def _holds_zero(low, high):
    return low <= 0 <= high and low < high
