"""Weights of recurrent layers between Keras, PyTorch, TensorFlow 1 and ONNX, in plain NumPy.

Each library holds the same numbers in other shapes, and the gates in another order. A weight set is
a sequence of arrays, of one layer in one direction, in the order in which the library lists them:

| format | LSTM | gates | GRU | gates |
| --- | --- | --- | --- | --- |
| `"keras"` | kernel, recurrent kernel, [bias] | i f c o | the same; bias of 1 or 2 rows | z r h |
| `"torch"` | weight_ih, weight_hh, [bias_ih, bias_hh] | i f c o | the same | r z h |
| `"tf_v1"` | kernel, bias | i c f o | gate kernel and bias, candidate kernel and bias | r z |
| `"onnx"` | W, R, [B] | i o f c | the same | z r h |

(c, the candidate, is g in PyTorch and j in TensorFlow 1; z, the share of the old state that stays,
is u in TensorFlow 1.) Peepholes come last: in Keras (`kdl.layers.PeepholeLSTM`) of i, f and o; in
TensorFlow 1 `w_f_diag`, `w_i_diag`, `w_o_diag`; in ONNX one array P of i, o and f; PyTorch has
none. TensorFlow 1 stacks kernel and recurrent kernel, and adds 1 to the forget gate when it runs;
the others keep that in the bias.
"""

from collections.abc import Sequence

import numpy as np

from kdl._checks import check_choice
from kdl._typing import ArrayLike
from kdl.layers.recurrent._formats import READ, READ_GRU, WRITE, WRITE_GRU, Layout

_LSTM = {
    "keras": Layout("ifco", "ifo"),
    "torch": Layout("ifco"),
    "tf_v1": Layout("icfo", "fio"),
    "onnx": Layout("iofc", "iof"),
}
_COUPLED = {"keras": Layout("fco", "fo"), "tf_v1": Layout("cfo", "fo")}
_GRU = {
    "keras": Layout("zrh"),
    "torch": Layout("rzh"),
    "tf_v1": Layout("rzh"),
    "onnx": Layout("zrh"),
}


def lstm_weights(
    weights: Sequence[ArrayLike], source: str, target: str, forget_bias: float = 1.0
) -> list[np.ndarray]:
    """Converts the weights of an LSTM, with or without peepholes.

    Args:
        weights: Arrays in the order and layout of `source`: see `kdl.layers.recurrent.convert`.
        source: `"keras"`, `"torch"`, `"tf_v1"` or `"onnx"`.
        target: One of the same.
        forget_bias: What a cell of TensorFlow 1 adds to its forget gate. Defaults to 1, as there.

    Returns:
        List of arrays in the order and layout of `target`. PyTorch and ONNX have two biases, which
        they add: where the source has one, the second is zeros.

    Raises:
        ValueError: If a format is unknown, an array does not fit, or the target has no peepholes.

    Example:
        >>> import numpy as np
        >>> ours = [np.zeros((8, 64)), np.zeros((16, 64)), np.zeros(64)]
        >>> [array.shape for array in lstm_weights(ours, "keras", "torch")]
        [(64, 8), (64, 16), (64,), (64,)]
    """
    return _convert_lstm(weights, source, target, _LSTM, forget_bias)


def coupled_lstm_weights(
    weights: Sequence[ArrayLike], source: str, target: str, forget_bias: float = 1.0
) -> list[np.ndarray]:
    """Converts the weights of an LSTM with coupled gates: `kdl.layers.CoupledLSTM`.

    TensorFlow 1's is `tf.contrib.rnn.CoupledInputForgetGateLSTMCell` without layer norm: kernel and
    bias with blocks c, f, o, then the peepholes of f and o. PyTorch has no such layer, and ONNX
    leaves open which of its four blocks stays.

    Args:
        weights: Arrays in the order and layout of `source`: see `kdl.layers.recurrent.convert`.
        source: `"keras"` or `"tf_v1"`.
        target: One of the same.
        forget_bias: What a cell of TensorFlow 1 adds to its forget gate. Defaults to 1, as there.

    Returns:
        List of arrays in the order and layout of `target`.

    Raises:
        ValueError: If a format is unknown, or an array does not fit.

    Example:
        >>> import numpy as np
        >>> theirs = [np.zeros((24, 48)), np.zeros(48)]
        >>> kernel, recurrent, bias = coupled_lstm_weights(theirs, "tf_v1", "keras")
        >>> kernel.shape, recurrent.shape, float(bias[0]), float(bias[-1])
        ((8, 48), (16, 48), 1.0, 0.0)
    """
    return _convert_lstm(weights, source, target, _COUPLED, forget_bias)


def gru_weights(
    weights: Sequence[ArrayLike], source: str, target: str, reset_after: bool = True
) -> list[np.ndarray]:
    """Converts the weights of a GRU.

    There are two GRUs, which compute different things. The paper's resets the state before the
    product with the recurrent kernel: `reset_after=False` in Keras, TensorFlow 1, and ONNX with
    `linear_before_reset=0`. The other resets after it: Keras's default, PyTorch, and ONNX with
    `linear_before_reset=1`. Weights of one are of no use to the other.

    Args:
        weights: Arrays in the order and layout of `source`: see `kdl.layers.recurrent.convert`.
        source: `"keras"`, `"torch"` (resets after), `"tf_v1"` (resets before) or `"onnx"`.
        target: One of the same.
        reset_after: Which of the two source and target are. Defaults to True.

    Returns:
        List of arrays in the order and layout of `target`.

    Raises:
        ValueError: If a format is unknown or does not have this GRU, or an array does not fit.

    Example:
        >>> import numpy as np
        >>> theirs = [np.zeros((48, 8)), np.zeros((48, 16)), np.zeros(48), np.zeros(48)]
        >>> [array.shape for array in gru_weights(theirs, "torch", "keras")]
        [(8, 48), (16, 48), (2, 48)]
    """
    for name, value in (("source", source), ("target", target)):
        check_choice(name, value, tuple(_GRU))
        if value == ("tf_v1" if reset_after else "torch"):
            form = "before" if reset_after else "after"
            raise ValueError(
                f"The GRU of {value!r} resets {form} the product, so it is not the one of "
                f"reset_after={reset_after}. If the other side is such a layer too, pass "
                f"reset_after={not reset_after}."
            )
    gates = READ_GRU[source](_arrays(weights), _GRU[source], reset_after)
    gates = gates.ordered(_GRU[target].gates)
    return WRITE_GRU[target](gates, _GRU[target], reset_after)


def _convert_lstm(weights, source, target, layouts, forget_bias):
    for name, value in (("source", source), ("target", target)):
        check_choice(name, value, tuple(layouts))
    gates = READ[source](_arrays(weights), layouts[source])
    if (source == "tf_v1") != (target == "tf_v1"):
        gates = gates.with_forget_bias(forget_bias if source == "tf_v1" else -forget_bias)
    return WRITE[target](gates.ordered(layouts[target].gates), layouts[target])


def _arrays(weights):
    return [np.asarray(array) for array in weights]
