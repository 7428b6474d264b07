"""One step of an LSTM with peephole connections."""

from collections.abc import Sequence

import keras

from kdl._typing import Tensor
from kdl.layers.recurrent._cell import RecurrentCell


@keras.saving.register_keras_serializable("kdl")
class PeepholeLSTMCell(RecurrentCell):
    """LSTM cell whose gates see the cell state: one step of `kdl.layers.PeepholeLSTM`.

    A plain LSTM's gates see `h = o · tanh(c)` only: where the output gate is shut, they are blind
    to what the cell holds. Peepholes are one weight a unit from `c` to each gate:

        i  = σ(W_i x + U_i h + p_i · c + b_i)
        f  = σ(W_f x + U_f h + p_f · c + b_f)
        c' = f · c + i · tanh(W_c x + U_c h + b_c)
        o  = σ(W_o x + U_o h + p_o · c' + b_o)
        h' = o · tanh(c')

    Input and forget gate see the old state, the output gate the new one; the candidate sees none.
    With `p = 0` it is `keras.layers.LSTMCell`. Weights: `kernel`, `recurrent_kernel` and `bias` in
    Keras's layout (blocks i, f, c, o), then `input_gate_peephole`, `forget_gate_peephole` and
    `output_gate_peephole`.

    Shapes: `(batch, features)` and states `[h, c]`, each `(batch, units)` → `(batch, units)` and
    the new states.

    Args:
        units: Size of the states.
        activation: Of candidate and output. Defaults to `"tanh"`; None is the identity.
        recurrent_activation: Of the gates. Defaults to `"sigmoid"`.
        peephole_initializer: Defaults to `"glorot_uniform"`, as the kernel's.
        peephole_regularizer: None by default.
        peephole_constraint: None by default.
        **kwargs: The other arguments of `keras.layers.LSTMCell`: `use_bias`, `unit_forget_bias`,
            `dropout`, `recurrent_dropout`, `seed`, and initializer, regularizer and constraint
            of kernel, recurrent kernel and bias.

    Raises:
        ValueError: If `units` is not a positive integer, a rate of dropout is not in [0, 1), or
            the number of features is unknown.

    Source: Learning Precise Timing with LSTM Recurrent Networks (Gers, Schraudolph, Schmidhuber,
    JMLR 3, 2002); equations as in arXiv 1308.0850, section 2.

    Example:
        >>> import numpy as np
        >>> rnn = keras.layers.RNN(PeepholeLSTMCell(3), return_sequences=True)
        >>> tuple(rnn(np.zeros((2, 5, 4), "float32")).shape)
        (2, 5, 3)
    """

    @property
    def peepholes(self) -> tuple[str, ...]:
        """Names of the peephole weights."""
        return ("input_gate_peephole", "forget_gate_peephole", "output_gate_peephole")

    def combine(
        self, gates: Sequence[Tensor], c: Tensor, peepholes: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The new `(h, c)` from the list of gates before their activation and the old `c`."""
        z_i, z_f, z_c, z_o = gates
        p_i, p_f, p_o = peepholes
        i = self.recurrent_activation(z_i + p_i * c)
        f = self.recurrent_activation(z_f + p_f * c)
        c = f * c + i * self.activation(z_c)
        o = self.recurrent_activation(z_o + p_o * c)
        return o * self.activation(c), c
