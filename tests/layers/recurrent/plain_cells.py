"""The equations of the cells, written plainly in float64, one step after the other."""

import numpy as np


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def run(step, weights, x, mask=None, states=None):
    """`(outputs (batch, time, units), h, c)` of `step` over a sequence, from zeros by default.

    Without a mask all steps count; a masked row keeps its states, and gives its last output again.
    """
    weights = [np.asarray(w, "float64") for w in weights]
    h, c = states or [np.zeros((len(x), len(weights[1])))] * 2
    outputs = []
    for t in range(x.shape[1]):
        new_h, new_c = step(weights, x[:, t].astype("float64"), h, c)
        keep = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        h, c = np.where(keep, new_h, h), np.where(keep, new_c, c)
        outputs.append(h)
    return np.stack(outputs, 1), h, c


def peephole_step(weights, x, h, c):
    kernel, recurrent, bias, p_i, p_f, p_o = weights
    u = len(recurrent)
    z = x @ kernel + h @ recurrent + bias
    i = sigmoid(z[:, :u] + p_i * c)
    f = sigmoid(z[:, u : 2 * u] + p_f * c)
    c = f * c + i * np.tanh(z[:, 2 * u : 3 * u])
    o = sigmoid(z[:, 3 * u :] + p_o * c)
    return o * np.tanh(c), c


def coupled_step(weights, x, h, c):
    kernel, recurrent, bias, *peepholes = weights
    p_f, p_o = peepholes or (0, 0)
    u = len(recurrent)
    z = x @ kernel + h @ recurrent + bias
    f = sigmoid(z[:, :u] + p_f * c)
    c = f * c + (1 - f) * np.tanh(z[:, u : 2 * u])
    o = sigmoid(z[:, 2 * u :] + p_o * c)
    return o * np.tanh(c), c
