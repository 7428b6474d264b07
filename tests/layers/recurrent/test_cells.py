import keras
import numpy as np
import pytest

from kdl.layers import CoupledLSTMCell, PeepholeLSTMCell

STATES = [np.array([[0.2]]), np.array([[0.4]])]


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def one_step(cell, bias, peephole=0.3):
    """`(c', h')` of a cell of one unit for x = 1, h = .2, c = .4, with kernel .5 and .25."""
    cell.build((None, 1))
    constants = {"kernel": 0.5, "recurrent_kernel": 0.25, "bias": bias}
    for weight in cell.weights:
        weight.assign(np.ones(weight.shape) * constants.get(weight.name, peephole))
    h, states = cell(np.ones((1, 1), "float32"), [s.astype("float32") for s in STATES])
    np.testing.assert_array_equal(to_numpy(h), to_numpy(states[0]))
    return [float(to_numpy(state)[0, 0]) for state in reversed(states)]


def forget_first(blocks, index):
    """Bias .1 of all gates, and one more for the forget gate."""
    bias = np.full(blocks, 0.1)
    bias[index] += 1
    return bias


@pytest.mark.parametrize(
    ("cell", "bias", "peephole", "expected"),
    [
        (PeepholeLSTMCell(1), 0.1, 0.0, (0.638397, 0.370427)),
        (PeepholeLSTMCell(1), 0.1, 0.3, (0.664157, 0.407024)),
        (PeepholeLSTMCell(1), forget_first(4, 1), 0.0, (0.711150, 0.401694)),
        (PeepholeLSTMCell(1), forget_first(4, 1), 0.3, (0.732531, 0.440161)),
        (CoupledLSTMCell(1), 0.1, None, (0.458881, 0.281970)),
        (CoupledLSTMCell(1), forget_first(3, 0), None, (0.427658, 0.265013)),
        (CoupledLSTMCell(1, use_peepholes=True), forget_first(3, 0), 0.3, (0.424985, 0.274825)),
    ],
)
def test_worked_step(cell, bias, peephole, expected):
    np.testing.assert_allclose(one_step(cell, bias, peephole), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("reset_after", "bias", "expected"),
    [(False, np.full(3, 0.1), 0.323480), (True, [[0.1] * 3, [0.05] * 3], 0.327045)],
)
def test_gru_of_the_papers_is_kerass(reset_after, bias, expected):
    cell = keras.layers.GRUCell(1, reset_after=reset_after)
    cell.build((None, 1))
    cell.set_weights([np.full((1, 3), 0.5), np.full((1, 3), 0.25), np.array(bias)])
    h, _ = cell(np.ones((1, 1), "float32"), STATES[:1])
    assert float(to_numpy(h)[0, 0]) == pytest.approx(expected, abs=1e-6)


def test_ones_everywhere():
    """What TensorFlow Addons checks its cell by."""
    cell = PeepholeLSTMCell(
        5, kernel_initializer="ones", recurrent_initializer="ones", peephole_initializer="ones"
    )
    x = np.array([[0, 0, 1, 0], [0, 0, 0, 0]], "float32")
    zeros = np.zeros((2, 5), "float32")
    h, _ = cell(x, [zeros, zeros])
    np.testing.assert_allclose(to_numpy(h), [[0.417551] * 5, [0.0] * 5], atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "parameters"),
    [
        (PeepholeLSTMCell(16), 1648),
        (PeepholeLSTMCell(16, use_bias=False), 1584),
        (CoupledLSTMCell(16), 1200),
        (CoupledLSTMCell(16, use_peepholes=True), 1232),
    ],
)
def test_parameters(cell, parameters):
    cell.build((None, 8))
    assert cell.count_params() == parameters


def test_names_and_order_of_weights():
    cell = PeepholeLSTMCell(2)
    cell.build((None, 3))
    assert [weight.name for weight in cell.weights] == [
        "kernel",
        "recurrent_kernel",
        "bias",
        "input_gate_peephole",
        "forget_gate_peephole",
        "output_gate_peephole",
    ]
    assert cell.input_gate_peephole is cell.weights[3]
    cell = CoupledLSTMCell(2, use_peepholes=True)
    cell.build((None, 3))
    names = [weight.name for weight in cell.weights[3:]]
    assert names == ["forget_gate_peephole", "output_gate_peephole"]


@pytest.mark.parametrize(
    ("cell", "start"), [(PeepholeLSTMCell, 2), (CoupledLSTMCell, 0)], ids=["peephole", "coupled"]
)
def test_forget_bias(cell, start):
    for use, value in ((True, 1), (False, 5)):
        made = cell(2, bias_initializer=keras.initializers.Constant(5), unit_forget_bias=use)
        made.build((None, 3))
        bias = to_numpy(made.bias)
        np.testing.assert_array_equal(bias[start : start + 2], value)
        assert (np.delete(bias, [start, start + 1]) == 5).all()


def test_initializers_regularizers_and_constraints_reach_the_peepholes():
    cell = PeepholeLSTMCell(
        4,
        peephole_initializer=keras.initializers.Constant(-2.0),
        peephole_regularizer=keras.regularizers.L2(0.5),
        peephole_constraint="non_neg",
    )
    layer = keras.layers.RNN(cell)
    layer.build((None, 3, 2))
    assert to_numpy(cell.output_gate_peephole).tolist() == [-2.0] * 4
    assert float(to_numpy(sum(layer.losses))) == pytest.approx(3 * 0.5 * 4 * 4)
    model = keras.Sequential([layer])
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 3, 2)), np.ones((2, 4)), verbose=0)
    for name in cell.peepholes:
        assert (to_numpy(getattr(cell, name)) == 0).all()


def test_peepholes_start_apart():
    cell = PeepholeLSTMCell(4)
    cell.build((None, 3))
    values = [to_numpy(getattr(cell, name)) for name in cell.peepholes]
    assert len({value.tobytes() for value in values}) == 3
    assert np.abs(values).max() <= np.sqrt(6 / 8)  # fans of 4 and 4


def test_stacked_cells():
    cells = [PeepholeLSTMCell(3), CoupledLSTMCell(2)]
    layer = keras.layers.RNN(cells, return_state=True)
    output, *states = layer(np.ones((2, 4, 5), "float32"))
    assert tuple(output.shape) == (2, 2)
    shapes = [tuple(state.shape) for state in keras.tree.flatten(states)]
    assert shapes == [(2, 3), (2, 3), (2, 2), (2, 2)]


@pytest.mark.parametrize("cell", [PeepholeLSTMCell, CoupledLSTMCell])
def test_bad_arguments(cell):
    for units in (0, -3, 2.5, None):
        with pytest.raises(ValueError, match="units must be a positive integer; received"):
            cell(units)
    for name in ("dropout", "recurrent_dropout"):
        for rate in (-0.1, 1.0, float("nan")):
            with pytest.raises(ValueError, match=f"^{name} must be at least 0 and below 1"):
                cell(4, **{name: rate})
    with pytest.raises(ValueError, match="input features must be known; received None"):
        cell(4).build((None, None))
