"""One step of an LSTM with coupled input and forget gates."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._typing import Activation, Tensor
from kdl.layers.recurrent._cell import RecurrentCell


@keras.saving.register_keras_serializable("kdl")
class CoupledLSTMCell(RecurrentCell):
    """LSTM cell that forgets as much as it takes in: one step of `kdl.layers.CoupledLSTM`.

    The input gate is `1 − f`, so there are three blocks of weights, not four:

        f  = σ(W_f x + U_f h + p_f · c + b_f)
        c' = f · c + (1 − f) · tanh(W_c x + U_c h + b_c)
        o  = σ(W_o x + U_o h + p_o · c' + b_o)
        h' = o · tanh(c')

    `p`, the peepholes, are there with `use_peepholes` only. The new state is a mean of the old one
    and the candidate, so from zero it never leaves [−1, 1]. Weights: `kernel`, `recurrent_kernel`
    and `bias` with blocks f, c, o, then `forget_gate_peephole` and `output_gate_peephole`.

    Shapes: `(batch, features)` and states `[h, c]`, each `(batch, units)` → `(batch, units)` and
    the new states.

    Args:
        units: Size of the states.
        activation: Of candidate and output. Defaults to `"tanh"`; None is the identity.
        recurrent_activation: Of the gates. Defaults to `"sigmoid"`.
        use_peepholes: Whether the gates see the cell state. Defaults to False.
        **kwargs: `peephole_initializer`, `peephole_regularizer` and `peephole_constraint`, and the
            other arguments of `keras.layers.LSTMCell`: see `kdl.layers.PeepholeLSTMCell`.

    Raises:
        ValueError: If `units` is not a positive integer, a rate of dropout is not in [0, 1), or
            the number of features is unknown.

    Source: LSTM: A Search Space Odyssey (arXiv 1503.04069), section 3, CIFG.

    Example:
        >>> import numpy as np
        >>> rnn = keras.layers.RNN(CoupledLSTMCell(3))
        >>> tuple(rnn(np.zeros((2, 5, 4), "float32")).shape), rnn.count_params()
        ((2, 3), 72)
    """

    blocks = 3
    forget_block = 0

    def __init__(
        self,
        units: int,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        use_peepholes: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, **kwargs)
        self.use_peepholes = use_peepholes

    @property
    def peepholes(self) -> tuple[str, ...]:
        """Names of the peephole weights."""
        return ("forget_gate_peephole", "output_gate_peephole") if self.use_peepholes else ()

    def combine(
        self, gates: Sequence[Tensor], c: Tensor, peepholes: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The new `(h, c)` from the list of gates before their activation and the old `c`."""
        z_f, z_c, z_o = gates
        if self.use_peepholes:
            z_f = z_f + peepholes[0] * c
        f = self.recurrent_activation(z_f)
        c = f * c + (1 - f) * self.activation(z_c)
        if self.use_peepholes:
            z_o = z_o + peepholes[1] * c
        return self.recurrent_activation(z_o) * self.activation(c), c

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "use_peepholes": self.use_peepholes}
