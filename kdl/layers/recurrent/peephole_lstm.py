"""LSTM with peephole connections."""

import keras

from kdl.layers.recurrent._layer import RecurrentLayer
from kdl.layers.recurrent.peephole_lstm_cell import PeepholeLSTMCell


@keras.saving.register_keras_serializable("kdl")
class PeepholeLSTM(RecurrentLayer):
    """LSTM whose gates see the cell state; stands where `keras.layers.LSTM` stands.

    `kdl.layers.PeepholeLSTMCell` has the equations and the weights. Masking, `initial_state`,
    `keras.layers.Bidirectional` and `reset_state` work as with `keras.layers.LSTM`: at a masked
    step the states stay as they are, and the output is that of the step before; before the first,
    `h` of the initial state (Keras's LSTM gives zeros there on TensorFlow and PyTorch).

    Shapes: `(batch, time, features)` → `(batch, units)`, or `(batch, time, units)` with
    `return_sequences`; with `return_state` a tuple of the output, `h` and `c`.

    Args:
        units: Size of the states.
        activation: Of candidate and output. Defaults to `"tanh"`; None is the identity.
        recurrent_activation: Of the gates. Defaults to `"sigmoid"`.
        use_cudnn: `"auto"` (default) or False, as `keras.layers.LSTM` has it; neither changes
            anything, since cuDNN has no such cell.
        **kwargs: The other arguments of `kdl.layers.PeepholeLSTMCell`; `return_sequences`,
            `return_state`, `go_backwards`, `stateful`, `unroll` and `zero_output_for_mask`, False
            by default, as in `keras.layers.RNN`; `activity_regularizer`, `name`, `dtype` and
            `trainable`. `unroll=True` makes a graph without a loop, which exports to TFLite as
            plain operations. As with all of Keras's recurrent layers, `fit` on JAX does not keep
            the states of `stateful=True`; calls do.

    Raises:
        ValueError: If an argument is out of range, or a sequence has no time step.

    Source: Learning Precise Timing with LSTM Recurrent Networks (Gers, Schraudolph, Schmidhuber,
    JMLR 3, 2002); equations as in arXiv 1308.0850, section 2.

    Example:
        >>> import numpy as np
        >>> layer = PeepholeLSTM(3, return_sequences=True)
        >>> tuple(layer(np.zeros((2, 5, 4), "float32")).shape), layer.count_params()
        ((2, 5, 3), 105)
    """

    cell_class = PeepholeLSTMCell
