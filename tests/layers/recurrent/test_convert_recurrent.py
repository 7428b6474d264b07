import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from plain_cells import coupled_step, peephole_step, run, sigmoid

from kdl.layers import CoupledLSTM, PeepholeLSTM
from kdl.layers.recurrent import coupled_lstm_weights, gru_weights, lstm_weights

FEATURES, UNITS = 3, 4
LSTM = ("keras", "torch", "tf_v1", "onnx")


def random_arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype("float32") for shape in shapes]


def keras_arrays(blocks, peepholes=0, rows=None):
    n = blocks * UNITS
    bias = (n,) if rows is None else (rows, n)
    return random_arrays((FEATURES, n), (UNITS, n), bias, *[(UNITS,)] * peepholes)


def assert_same(found, wanted):
    assert [a.shape for a in found] == [a.shape for a in wanted]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# --- the layouts, one number a gate -----------------------------------------------------------


def marked(gates, units=1):
    """A row whose blocks hold the place of each letter in "ifcozr"."""
    return np.repeat([float("ifcozr".index(gate)) for gate in gates], units)


@pytest.mark.parametrize(
    ("target", "gates"), [("torch", "ifco"), ("tf_v1", "icfo"), ("onnx", "iofc")]
)
def test_order_of_gates(target, gates):
    row = marked("ifco")
    found = lstm_weights([row[None], row[None] + 10, row], "keras", target, forget_bias=0.0)
    if target == "tf_v1":
        np.testing.assert_array_equal(found[0], [marked(gates), marked(gates) + 10])
        np.testing.assert_array_equal(found[1], marked(gates))
        return
    np.testing.assert_array_equal(found[0].ravel(), marked(gates))
    np.testing.assert_array_equal(found[1].ravel(), marked(gates) + 10)
    np.testing.assert_array_equal(found[2].ravel()[:4], marked(gates))


def test_order_of_peepholes():
    ours = [*keras_arrays(4), *[np.full(UNITS, float("ifco".index(gate))) for gate in "ifo"]]
    found = lstm_weights(ours, "keras", "tf_v1")[2:]
    assert [array[0] for array in found] == [1, 0, 3]  # f, i, o
    found = lstm_weights(ours, "keras", "onnx")[3]
    assert found.shape == (1, 3 * UNITS)
    assert found[0, ::UNITS].tolist() == [0, 3, 1]  # i, o, f


@pytest.mark.parametrize(("target", "gates"), [("torch", "rzc"), ("onnx", "zrc")])
def test_order_of_gates_of_a_gru(target, gates):
    row = marked("zrc")
    found = gru_weights([row[None], row[None] + 10, [row, row + 20]], "keras", target)
    np.testing.assert_array_equal(found[0].ravel(), marked(gates))
    np.testing.assert_array_equal(found[1].ravel(), marked(gates) + 10)
    biases = np.concatenate([part.ravel() for part in found[2:]])
    np.testing.assert_array_equal(biases, [*marked(gates), *(marked(gates) + 20)])


def test_tf_v1_gru_splits_off_the_candidate():
    row = marked("zrc")
    found = gru_weights([row[None], row[None], row], "keras", "tf_v1", reset_after=False)
    assert [array.shape for array in found] == [(2, 2), (2,), (2, 1), (1,)]
    np.testing.assert_array_equal(found[1], marked("rz"))
    np.testing.assert_array_equal(found[3], marked("c"))


def test_forget_bias_of_tf_v1():
    kernel, bias = np.zeros((FEATURES + UNITS, 4 * UNITS)), np.zeros(4 * UNITS)
    found = lstm_weights([kernel, bias], "tf_v1", "keras")[2]
    np.testing.assert_array_equal(found, np.repeat([0, 1, 0, 0], UNITS))
    found = lstm_weights([kernel, bias], "tf_v1", "keras", forget_bias=0.25)[2]
    np.testing.assert_array_equal(found, np.repeat([0, 0.25, 0, 0], UNITS))


# --- both ways --------------------------------------------------------------------------------


@pytest.mark.parametrize("middle", LSTM)
@pytest.mark.parametrize("peepholes", [0, 3])
def test_lstm_there_and_back(middle, peepholes):
    ours = keras_arrays(4, peepholes)
    if peepholes and middle == "torch":
        with pytest.raises(ValueError, match="PyTorch's LSTM has no peepholes"):
            lstm_weights(ours, "keras", middle)
        return
    assert_same(lstm_weights(lstm_weights(ours, "keras", middle), middle, "keras"), ours)


@pytest.mark.parametrize("peepholes", [0, 2])
def test_coupled_there_and_back(peepholes):
    ours = keras_arrays(3, peepholes)
    theirs = coupled_lstm_weights(ours, "keras", "tf_v1")
    assert theirs[0].shape == (FEATURES + UNITS, 3 * UNITS)
    assert_same(coupled_lstm_weights(theirs, "tf_v1", "keras"), ours)


@pytest.mark.parametrize(
    ("middle", "reset_after"),
    [("torch", True), ("onnx", True), ("onnx", False), ("tf_v1", False), ("keras", True)],
)
def test_gru_there_and_back(middle, reset_after):
    ours = keras_arrays(3, rows=2 if reset_after else None)
    theirs = gru_weights(ours, "keras", middle, reset_after)
    assert_same(gru_weights(theirs, middle, "keras", reset_after), ours)


def test_every_pair_of_formats():
    """By any way the weights arrive the same."""
    ours = keras_arrays(4)
    for source in LSTM:
        arrays = lstm_weights(ours, "keras", source)
        for target in LSTM:
            found = lstm_weights(arrays, source, target)
            assert_same(found, lstm_weights(ours, "keras", target))


def test_without_bias():
    ours = keras_arrays(4, 3)
    del ours[2]
    assert len(lstm_weights(ours[:2], "keras", "torch")) == 2
    assert_same(lstm_weights(lstm_weights(ours, "keras", "onnx"), "onnx", "keras"), ours)
    bias = lstm_weights(ours, "keras", "tf_v1")[1]  # there must be one: what the cell adds, undone
    np.testing.assert_array_equal(bias, np.repeat([0, 0, -1, 0], UNITS))
    assert len(gru_weights(keras_arrays(3)[:2], "keras", "torch")) == 2


def test_input_stays():
    ours = keras_arrays(4)
    before = [array.copy() for array in ours]
    for array in lstm_weights(ours, "keras", "tf_v1"):
        array += 1
    for array, copy in zip(ours, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# --- what the libraries compute ---------------------------------------------------------------


def x_data():
    return np.random.default_rng(5).standard_normal((2, 6, FEATURES)).astype("float32")


def torch_outputs(layer, x):
    import torch

    with torch.no_grad():
        return layer(torch.from_numpy(x))[0].numpy()


def load_torch(layer, arrays):
    import torch

    with torch.no_grad():
        for parameter, array in zip(layer.parameters(), arrays, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch is loaded there")
@pytest.mark.parametrize(
    ("name", "convert"), [("LSTM", lstm_weights), ("GRU", gru_weights)], ids=["lstm", "gru"]
)
def test_torch(name, convert):
    import torch

    theirs = getattr(torch.nn, name)(FEATURES, UNITS, batch_first=True, device="cpu")
    ours = getattr(keras.layers, name)(UNITS, return_sequences=True)
    x = x_data()
    ours.build(x.shape)
    ours.set_weights(convert(theirs.state_dict().values(), "torch", "keras"))
    found = keras.ops.convert_to_numpy(ours(x))
    np.testing.assert_allclose(found, torch_outputs(theirs, x), atol=1e-6)
    weights = [2 * array + 0.1 for array in ours.get_weights()]
    ours.set_weights(weights)
    load_torch(theirs, convert(weights, "keras", "torch"))
    found = keras.ops.convert_to_numpy(ours(x))
    np.testing.assert_allclose(found, torch_outputs(theirs, x), atol=1e-6)


def onnx_lstm(arrays, x):
    """The equations of ONNX's operator LSTM, in its own layout."""
    w, r, b, p = (array[0].astype("float64") for array in arrays)
    u = r.shape[1]
    p_i, p_o, p_f = np.split(p, 3)
    h = c = np.zeros((len(x), u))
    outputs = []
    for t in range(x.shape[1]):
        z = x[:, t] @ w.T + h @ r.T + b[: 4 * u] + b[4 * u :]
        z_i, z_o, z_f, z_c = np.split(z, 4, axis=1)
        i, f = sigmoid(z_i + p_i * c), sigmoid(z_f + p_f * c)
        c = f * c + i * np.tanh(z_c)
        h = sigmoid(z_o + p_o * c) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


def test_onnx():
    n = 4 * UNITS
    theirs = random_arrays((1, n, FEATURES), (1, n, UNITS), (1, 2 * n), (1, 3 * UNITS))
    found = run(peephole_step, lstm_weights(theirs, "onnx", "keras"), x_data())[0]
    np.testing.assert_allclose(found, onnx_lstm(theirs, x_data()), atol=1e-6)


def tf_v1_coupled(arrays, x):
    """The equations of TensorFlow 1's coupled cell, in its own layout."""
    kernel, bias, p_f, p_o = (array.astype("float64") for array in arrays)
    h = c = np.zeros((len(x), len(p_f)))
    outputs = []
    for t in range(x.shape[1]):
        z_j, z_f, z_o = np.split(np.concatenate([x[:, t], h], 1) @ kernel + bias, 3, axis=1)
        f = sigmoid(z_f + 1 + p_f * c)
        c = f * c + (1 - f) * np.tanh(z_j)
        h = sigmoid(z_o + p_o * c) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, 1)


def test_tf_v1_coupled():
    n = 3 * UNITS
    theirs = random_arrays((FEATURES + UNITS, n), (n,), (UNITS,), (UNITS,))
    weights = coupled_lstm_weights(theirs, "tf_v1", "keras")
    wanted = tf_v1_coupled(theirs, x_data())
    np.testing.assert_allclose(run(coupled_step, weights, x_data())[0], wanted, atol=1e-6)
    layer = CoupledLSTM(UNITS, use_peepholes=True, return_sequences=True)
    layer.build(x_data().shape)
    layer.set_weights(weights)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x_data())), wanted, atol=1e-5)


TF_V1 = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, tensorflow as tf
cells, given = tf.compat.v1.nn.rnn_cell, json.load(sys.stdin)
x = tf.constant(given["x"], "float32")
results = {}
for name, cell in {
    "lstm": cells.LSTMCell(given["units"]),
    "peephole": cells.LSTMCell(given["units"], use_peepholes=True),
    "gru": cells.GRUCell(given["units"]),
}.items():
    cell.build((None, x.shape[-1]))
    cell.set_weights([np.array(array, "float32") for array in given[name]])
    state, outputs = cell.zero_state(x.shape[0], "float32"), []
    for t in range(x.shape[1]):
        output, state = cell(x[:, t], state)
        outputs.append(output.numpy().tolist())
    results[name] = outputs
print(json.dumps(results))
"""


@pytest.mark.tensorflow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="once is enough")
def test_cells_of_tensorflow_1():
    """In a process of its own, since it needs the Keras of TensorFlow 1."""
    n = 4 * UNITS
    rows = FEATURES + UNITS
    theirs = {
        "lstm": random_arrays((rows, n), (n,)),
        "peephole": random_arrays((rows, n), (n,), *[(UNITS,)] * 3),
        "gru": random_arrays((rows, 2 * UNITS), (2 * UNITS,), (rows, UNITS), (UNITS,)),
    }
    given = {name: [array.tolist() for array in arrays] for name, arrays in theirs.items()}
    done = subprocess.run(
        [sys.executable, "-c", TF_V1],
        input=json.dumps({"x": x_data().tolist(), "units": UNITS, **given}),
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = json.loads(done.stdout.splitlines()[-1])
    gru = gru_weights(theirs["gru"], "tf_v1", "keras", reset_after=False)
    layers = {
        "lstm": (keras.layers.LSTM, lstm_weights(theirs["lstm"], "tf_v1", "keras"), {}),
        "peephole": (PeepholeLSTM, lstm_weights(theirs["peephole"], "tf_v1", "keras"), {}),
        "gru": (keras.layers.GRU, gru, {"reset_after": False}),
    }
    for name, (cls, weights, options) in layers.items():
        layer = cls(UNITS, return_sequences=True, **options)
        layer.build(x_data().shape)
        layer.set_weights(weights)
        found = keras.ops.convert_to_numpy(layer(x_data())).swapaxes(0, 1)
        np.testing.assert_allclose(found, wanted[name], atol=1e-6, err_msg=name)


# --- errors -----------------------------------------------------------------------------------


def test_unknown_formats():
    with pytest.raises(ValueError, match=r"source must be one of 'keras', .*received 'pytorch'"):
        lstm_weights(keras_arrays(4), "pytorch", "keras")
    with pytest.raises(ValueError, match="target must be one of 'keras', 'tf_v1'; received 'onnx'"):
        coupled_lstm_weights(keras_arrays(3), "keras", "onnx")
    for name, reset_after in (("torch", False), ("tf_v1", True)):
        message = f"GRU of {name!r} resets .*pass reset_after={not reset_after}"
        with pytest.raises(ValueError, match=message):
            gru_weights(keras_arrays(3), "keras", name, reset_after)


@pytest.mark.parametrize(
    ("convert", "source", "shapes", "message"),
    [
        (lstm_weights, "keras", [(3, 16)], r"keras: expected 2 or 3 or 5 or 6 arrays.*received 1"),
        (lstm_weights, "torch", [(16, 3), (16, 4)] * 4, "torch: expected 2 or 4 arrays, of one"),
        (lstm_weights, "keras", [(3, 15), (4, 16)], r"kernel: expected shape \(features, 16\)"),
        (lstm_weights, "keras", [(3, 16), (4, 12)], r"recurrent kernel: expected shape \(4, 16\)"),
        (lstm_weights, "keras", [(3, 16), (4, 16), (12,)], r"bias: expected shape \(16\)"),
        (lstm_weights, "keras", [(3, 16), (16,)], r"expected an array of rank 2; received \(16,\)"),
        (lstm_weights, "torch", [(3, 16), (4, 16)], r"weight_ih: expected shape \(64, features\)"),
        (lstm_weights, "tf_v1", [(7, 16), (15,)], r"bias of 4 · units values; received 15"),
        (lstm_weights, "tf_v1", [(4, 16), (16,)], r"kernel has 4 rows .*projection"),
        (lstm_weights, "tf_v1", [(7, 16), (16,), (4,), (4,), (3,)], r"tf_v1 peephole: .*\(4\)"),
        (lstm_weights, "onnx", [(2, 16, 3), (2, 16, 4)], r"one direction, \(1, …\); received \(2,"),
        (lstm_weights, "onnx", [(1, 16, 3), (1, 16, 4), (1, 16)], r"onnx P: expected shape \(12\)"),
        (gru_weights, "keras", [(3, 12), (4, 12), (12,)], r"bias: expected shape \(2, 12\)"),
        (gru_weights, "torch", [(12, 3), (12, 4), (12,)], "torch: expected 2 or 4 arrays"),
        (coupled_lstm_weights, "tf_v1", [(7, 16), (16,)], r"bias of 3 · units values; received 16"),
    ],
)
def test_shapes_that_do_not_fit(convert, source, shapes, message):
    with pytest.raises(ValueError, match=message):
        convert([np.zeros(shape) for shape in shapes], source, "keras")


def test_bias_of_the_other_gru():
    arrays = [np.zeros((3, 12)), np.zeros((4, 12)), np.zeros((2, 12))]
    with pytest.raises(ValueError, match=r"bias: expected shape \(12\); received \(2, 12\)"):
        gru_weights(arrays, "keras", "tf_v1", reset_after=False)
