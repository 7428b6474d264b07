"""Base class of the recurrent cells."""

import keras
from keras import ops

from kdl._checks import check_integer


class RecurrentCell(keras.layers.LSTMCell):
    """Base of the cells: a `keras.layers.LSTMCell` with other gates.

    Keras's own cell brings the arguments, the config and the masks of dropout, which are the same
    for all steps of a sequence. `make_step` gives one step as a function, for a loop.

    A subclass sets `blocks`, the number of gates (the candidate is one of them); `forget_block`,
    the index of the forget gate; `peepholes`, names of the peephole weights; and writes `combine`.

    Args:
        units: Size of the states.
        activation: Of candidate and output.
        recurrent_activation: Of the gates.
        peephole_initializer: Of the peephole weights.
        peephole_regularizer: Of the peephole weights.
        peephole_constraint: Of the peephole weights.
        **kwargs: As in `keras.layers.LSTMCell`.
    """

    blocks = 4
    forget_block = 1

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        peephole_initializer="glorot_uniform",
        peephole_regularizer=None,
        peephole_constraint=None,
        **kwargs,
    ):
        units = check_integer("units", units)
        for name in ("dropout", "recurrent_dropout"):
            _check_rate(name, kwargs.get(name, 0.0))
        super().__init__(units, activation, recurrent_activation, **kwargs)
        # Keras draws as many masks where each gate has its own: with recurrent dropout.
        if self.implementation == 1:
            self.dropout_mask_count = self.blocks
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.peephole_regularizer = keras.regularizers.get(peephole_regularizer)
        self.peephole_constraint = keras.constraints.get(peephole_constraint)

    def build(self, input_shape):
        """Makes kernel, recurrent kernel, bias and peepholes."""
        if input_shape[-1] is None:
            raise ValueError("The number of input features must be known; received None.")
        columns = self.blocks * self.units
        self.kernel = self._weight("kernel", (input_shape[-1], columns), "kernel")
        self.recurrent_kernel = self._weight("recurrent_kernel", (self.units, columns), "recurrent")
        self.bias = None
        if self.use_bias:
            self.bias = self._weight("bias", (columns,), "bias", self._initial_bias)
        for name in self.peepholes:
            initializer = _redrawn(self.peephole_initializer)
            setattr(self, name, self._weight(name, (self.units,), "peephole", initializer))

    def call(self, inputs, states, training=False):
        """One step: `(h, [h, c])` from inputs `(batch, features)` and states `[h, c]`."""
        h, c = self.make_step(inputs, states[0], training)(inputs, *states)
        return h, [h, c]

    def make_step(self, x, h, training=False, unroll=False):
        """The function `(x, h, c) → (h, c)` for inputs and states like these.

        It has read the weights and drawn the masks, so that a loop does this once.
        """
        split = self._slice if unroll else self._split
        kernel = ops.convert_to_tensor(self.kernel)
        recurrent_kernel = ops.convert_to_tensor(self.recurrent_kernel)
        bias = None if self.bias is None else ops.convert_to_tensor(self.bias)
        masks = self.get_dropout_mask(x) if training else None
        recurrent_masks = self.get_recurrent_dropout_mask(h) if training else None
        # Spread over the batch once, so that the gradient is summed over it once, not at each step.
        peepholes = [
            ops.broadcast_to(ops.convert_to_tensor(getattr(self, name)), ops.shape(h))
            for name in self.peepholes
        ]

        def step(x, h, c):
            gates = self._product(x, kernel, masks)
            gates = gates + self._product(h, recurrent_kernel, recurrent_masks)
            return self.combine(split(gates if bias is None else gates + bias), c, peepholes)

        return step

    @property
    def peepholes(self) -> tuple[str, ...]:
        """Names of the peephole weights."""
        return ()

    def combine(self, gates, c, peepholes):
        """The new `(h, c)` from the list of gates before their activation and the old `c`."""
        raise NotImplementedError

    def get_config(self):
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            peephole_initializer=keras.initializers.serialize(self.peephole_initializer),
            peephole_regularizer=keras.regularizers.serialize(self.peephole_regularizer),
            peephole_constraint=keras.constraints.serialize(self.peephole_constraint),
        )
        return config

    def _weight(self, name, shape, kind, initializer=None):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer or getattr(self, f"{kind}_initializer"),
            regularizer=getattr(self, f"{kind}_regularizer"),
            constraint=getattr(self, f"{kind}_constraint"),
        )

    def _initial_bias(self, shape, dtype=None):
        bias = self.bias_initializer(shape, dtype=dtype)
        if not self.unit_forget_bias:
            return bias
        start = self.forget_block * self.units
        ones = ops.ones((self.units,), dtype=dtype)
        return ops.concatenate([bias[:start], ones, bias[start + self.units :]])

    def _split(self, gates):
        return ops.split(gates, self.blocks, axis=-1)

    def _slice(self, gates):
        # TFLite's quantizer leaves a split in float where nothing reads one of its outputs: at the
        # first of unrolled steps, whose state is zero, nothing reads the forget gate.
        starts = range(0, self.blocks * self.units, self.units)
        return [gates[:, start : start + self.units] for start in starts]

    def _product(self, x, kernel, masks):
        """`x · kernel` with no mask, one mask for all gates, or a list of one for each."""
        if not isinstance(masks, list):
            return ops.matmul(x if masks is None else x * masks, kernel)
        kernels = ops.split(kernel, self.blocks, axis=1)
        products = [ops.matmul(x * m, k) for m, k in zip(masks, kernels, strict=True)]
        return ops.concatenate(products, axis=-1)


def _redrawn(initializer):
    """The same initializer with a seed of its own, unless it was given one.

    An initializer of Keras gives the same values each time: all peepholes would start alike.
    """
    known = isinstance(initializer, keras.initializers.Initializer)
    return initializer.clone() if known else initializer


def _check_rate(name, value):
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1; received {value!r}.")
