"""LSTM with coupled input and forget gates."""

import keras

from kdl.layers.recurrent._layer import RecurrentLayer
from kdl.layers.recurrent.coupled_lstm_cell import CoupledLSTMCell


@keras.saving.register_keras_serializable("kdl")
class CoupledLSTM(RecurrentLayer):
    """LSTM with the input gate `1 − f` (CIFG); stands where `keras.layers.LSTM` stands.

    `kdl.layers.CoupledLSTMCell` has the equations and the weights, a quarter fewer than an LSTM's.
    Masking, `initial_state`, `keras.layers.Bidirectional` and `reset_state` work as with
    `keras.layers.LSTM`: at a masked step the states stay as they are, and the output is that of
    the step before; before the first, `h` of the initial state (Keras's LSTM gives zeros there on
    TensorFlow and PyTorch).

    Shapes: `(batch, time, features)` → `(batch, units)`, or `(batch, time, units)` with
    `return_sequences`; with `return_state` a tuple of the output, `h` and `c`.

    Args:
        units: Size of the states.
        activation: Of candidate and output. Defaults to `"tanh"`; None is the identity.
        recurrent_activation: Of the gates. Defaults to `"sigmoid"`.
        use_cudnn: `"auto"` (default) or False, as `keras.layers.LSTM` has it; neither changes
            anything, since cuDNN has no such cell.
        **kwargs: `use_peepholes` and the other arguments of `kdl.layers.CoupledLSTMCell`;
            `return_sequences`, `return_state`, `go_backwards`, `stateful`, `unroll` and
            `zero_output_for_mask`, False by default, as in `keras.layers.RNN`;
            `activity_regularizer`, `name`, `dtype` and `trainable`. `unroll=True` makes a graph
            without a loop, which exports to TFLite as plain operations. As with all of Keras's
            recurrent layers, `fit` on JAX does not keep the states of `stateful=True`; calls do.

    Raises:
        ValueError: If an argument is out of range, or a sequence has no time step.

    Source: LSTM: A Search Space Odyssey (arXiv 1503.04069), section 3, CIFG.

    Example:
        >>> import numpy as np
        >>> layer = CoupledLSTM(3, return_sequences=True, use_peepholes=True)
        >>> tuple(layer(np.zeros((2, 5, 4), "float32")).shape), layer.count_params()
        ((2, 5, 3), 78)
    """

    cell_class = CoupledLSTMCell
    cell_arguments = (*RecurrentLayer.cell_arguments, "use_peepholes")
