"""How fast layers are beside Keras's own, on each backend.

    python -m benchmarks layers --layers peephole_lstm

Each section of `SECTIONS` measures one layer: contenders take turns in one process, and the
smallest time of each counts. A run replaces the sections that it measured, and keeps the others.
"""

import numpy as np

from benchmarks._sections import measure_sections, table, take_turns


def peephole_lstm():
    """A training step of the recurrent layers, beside Keras's loop over an LSTM cell."""
    import keras

    from kdl.layers import CoupledLSTM, PeepholeLSTM, PeepholeLSTMCell

    builds = {
        "keras.layers.LSTM(use_cudnn=False)": lambda units: keras.layers.LSTM(
            units, use_cudnn=False
        ),
        "keras.layers.RNN(PeepholeLSTMCell)": lambda units: keras.layers.RNN(
            PeepholeLSTMCell(units)
        ),
        "PeepholeLSTM": PeepholeLSTM,
        "CoupledLSTM": CoupledLSTM,
    }
    rows = []
    for units, length in ((64, 32), (64, 100), (128, 32), (128, 100)):
        x = np.random.default_rng(0).standard_normal((32, length, 32)).astype("float32")
        y = np.zeros((32, units), "float32")
        times = take_turns(
            {name: training_step(build(units), x, y) for name, build in builds.items()}
        )
        rows += table(f"{units} units, {length} steps, batch 32", times)
    return rows


def normalization():
    """A training step of the norms alone, beside `keras.layers.BatchNormalization`."""
    import keras

    from kdl.layers import (
        BatchNormalization,
        MovingAverageBatchNormalization,
        SwitchableNormalization,
        SyncBatchNormalization,
    )

    builds = {
        "keras.layers.BatchNormalization": keras.layers.BatchNormalization,
        "BatchNormalization": BatchNormalization,
        "SyncBatchNormalization": SyncBatchNormalization,
        "SwitchableNormalization": SwitchableNormalization,
        "MovingAverageBatchNormalization": MovingAverageBatchNormalization,
        "keras.layers.GroupNormalization(8)": lambda: keras.layers.GroupNormalization(8),
    }
    rows = []
    for shape in ((32, 28, 28, 64), (16, 56, 56, 24), (32, 14, 14, 256)):
        x = np.random.default_rng(0).standard_normal(shape).astype("float32")
        times = take_turns(
            {name: training_step(build(), x, np.zeros_like(x)) for name, build in builds.items()}
        )
        rows += table(" × ".join(map(str, shape)), times)
    return rows


def main(arguments=None):
    """Measures on every backend and writes the results."""
    title = "Layers beside Keras's own"
    measure_sections("layers", SECTIONS, "layer", title, __doc__, arguments)


SECTIONS = {"peephole_lstm": peephole_lstm, "normalization": normalization}


def training_step(layer, x, y):
    """A function that trains the layer alone on one batch."""
    import keras

    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile("adam", "mse")
    return lambda: model.train_on_batch(x, y)
