"""Recurrent cells, their layers, and converters of their weights."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.layers.recurrent.convert import coupled_lstm_weights, gru_weights, lstm_weights
from kdl.layers.recurrent.coupled_lstm import CoupledLSTM
from kdl.layers.recurrent.coupled_lstm_cell import CoupledLSTMCell
from kdl.layers.recurrent.peephole_lstm import PeepholeLSTM
from kdl.layers.recurrent.peephole_lstm_cell import PeepholeLSTMCell

__all__ = [
    "CoupledLSTM",
    "CoupledLSTMCell",
    "PeepholeLSTM",
    "PeepholeLSTMCell",
    "coupled_lstm_weights",
    "gru_weights",
    "lstm_weights",
]

__dir__ = _lazy.names_in_all(globals())
