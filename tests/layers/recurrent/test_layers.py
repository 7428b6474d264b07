import keras
import numpy as np
import pytest
from plain_cells import coupled_step, peephole_step, run

from kdl.deploy import export_tflite, read_tflite
from kdl.layers import CoupledLSTM, CoupledLSTMCell, PeepholeLSTM, PeepholeLSTMCell
from kdl.testing import run_layer_test
from kdl.testing._gradients import gradients

KINDS = pytest.mark.parametrize("kind", ["peephole", "coupled", "coupled and peephole"])


def make(kind, units=3, **kwargs):
    if kind == "peephole":
        return PeepholeLSTM(units, **kwargs)
    return CoupledLSTM(units, use_peepholes="peephole" in kind, **kwargs)


def make_cell(kind, units=3):
    if kind == "peephole":
        return PeepholeLSTMCell(units)
    return CoupledLSTMCell(units, use_peepholes="peephole" in kind)


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def sequences(batch=2, time=5, features=4, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, time, features)).astype("float32")


def built(layer, shape=(None, 5, 4)):
    """The layer with large random weights, so that a wrong gate shows."""
    layer.build(shape)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.standard_normal(tuple(weight.shape)))
    return layer


def plain(layer, x, mask=None, states=None):
    step = peephole_step if isinstance(layer, PeepholeLSTM) else coupled_step
    return run(step, layer.get_weights(), x, mask, states)


def test_peephole_lstm():
    run_layer_test(
        PeepholeLSTM,
        {"units": 3, "return_sequences": True},
        (2, 4, 4),
        expected_output_shape=(2, 4, 3),
        reference=lambda layer, x: plain(layer, x)[0],
    )


def test_coupled_lstm():
    run_layer_test(
        CoupledLSTM,
        {"units": 3, "use_peepholes": True},
        (2, 4, 4),
        expected_output_shape=(2, 3),
        reference=lambda layer, x: plain(layer, x)[1],
    )


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (PeepholeLSTM, {"return_state": True, "dropout": 0.2, "recurrent_dropout": 0.2, "seed": 3}),
        (CoupledLSTM, {"unroll": True, "use_bias": False, "activation": "relu"}),
    ],
    ids=["dropout", "unroll"],
)
def test_layer_with_options(cls, options):
    run_layer_test(cls, {"units": 3, **options}, (2, 3, 4))


@pytest.mark.export
@pytest.mark.parametrize("cls", [PeepholeLSTM, CoupledLSTM])
def test_unrolled_layer_exports(cls):
    run_layer_test(cls, {"units": 3, "unroll": True}, (4, 3, 4), deployable=True)


@pytest.mark.export
@pytest.mark.parametrize(
    ("cls", "operations"),
    [
        (PeepholeLSTM, {"LOGISTIC": 8, "TANH": 6, "MUL": 15, "ADD": 14}),
        (CoupledLSTM, {"LOGISTIC": 6, "TANH": 6, "MUL": 8, "ADD": 6, "SUB": 3}),
    ],
)
def test_operations_of_the_file(cls, operations, tmp_path):
    """Three steps, without a loop. The first has a state of zeros, so it needs fewer."""
    inputs = keras.Input((3, 4))
    layer = cls(3, unroll=True)
    model = keras.Model(inputs, layer(inputs))
    export_tflite(model, tmp_path / "model.tflite")
    found = dict(read_tflite(tmp_path / "model.tflite").operations)
    slices = 3 * layer.cell.blocks - (cls is PeepholeLSTM)  # the first forget gate is not needed
    rest = {"RESHAPE": 1, "UNPACK": 1, "FULLY_CONNECTED": 5, "STRIDED_SLICE": slices}
    # Exported from PyTorch and JAX, the peephole layer needs a sum less.
    fewer = operations["ADD"] - found.pop("ADD")
    assert fewer in ((0, 1) if cls is PeepholeLSTM else (0,))
    assert found == {**rest, **{name: n for name, n in operations.items() if name != "ADD"}}


@KINDS
def test_all_outputs(kind):
    layer = built(make(kind, return_sequences=True, return_state=True))
    x = sequences()
    for found, wanted in zip(layer(x), plain(layer, x), strict=True):
        np.testing.assert_allclose(to_numpy(found), wanted, atol=1e-5)


@KINDS
def test_drop_in_for_rnn_of_the_cell(kind):
    ours = built(make(kind, return_sequences=True, return_state=True))
    theirs = keras.layers.RNN(make_cell(kind), return_sequences=True, return_state=True)
    theirs.build((None, 5, 4))
    theirs.set_weights(ours.get_weights())
    x, states = sequences(), [sequences()[:, 0, :3], sequences()[:, 1, :3]]
    for call in (lambda layer: layer(x), lambda layer: layer(x, initial_state=states)):
        for found, wanted in zip(call(ours), call(theirs), strict=True):
            np.testing.assert_allclose(to_numpy(found), to_numpy(wanted), atol=1e-6)


OPTIONS = [
    {},
    {"return_sequences": True, "return_state": True},
    {"go_backwards": True, "return_sequences": True},
    {"dropout": 0.4, "seed": 7},
    {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 7, "return_sequences": True},
    {"use_bias": False, "recurrent_activation": "hard_sigmoid", "activation": None},
    {"unroll": True, "return_sequences": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
def test_without_peepholes_it_is_kerass_lstm(options):
    """The same masks of dropout, too."""
    theirs = built(keras.layers.LSTM(3, use_cudnn=False, **options))
    ours = built(PeepholeLSTM(3, **options))
    ours.set_weights([*theirs.get_weights(), *[np.zeros(3)] * 3])
    x = sequences()
    found, wanted = (keras.tree.flatten(layer(x, training=True)) for layer in (ours, theirs))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-6)


MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]], bool)


@pytest.mark.parametrize("unroll", [False, True])
@KINDS
def test_mask(kind, unroll):
    """A masked step changes nothing; a row of masked steps only stays at zero."""
    layer = built(make(kind, return_sequences=True, return_state=True, unroll=unroll))
    x = sequences(batch=3)
    x[~MASK] = 1e4  # must not be seen
    for found, wanted in zip(layer(x, mask=MASK), plain(layer, x, MASK), strict=True):
        np.testing.assert_allclose(to_numpy(found), wanted, atol=1e-5)
    assert not to_numpy(layer(x, mask=MASK)[0])[2].any()


@pytest.mark.parametrize("unroll", [False, True])
def test_masked_steps_before_the_first_keep_the_initial_state(unroll):
    layer = built(PeepholeLSTM(3, return_sequences=True, return_state=True, unroll=unroll))
    x, mask = sequences(batch=3), ~MASK
    rng = np.random.default_rng(3)
    states = [rng.standard_normal((3, 3)).astype("float32") for _ in range(2)]
    assert not mask[:, 0].all()
    given = [keras.ops.convert_to_tensor(state) for state in states]
    found = layer(x, mask=mask, initial_state=given)
    for one, wanted in zip(found, plain(layer, x, mask, states), strict=True):
        np.testing.assert_allclose(to_numpy(one), wanted, atol=1e-5)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_backwards_with_mask(return_sequences, unroll):
    options = {"return_sequences": return_sequences, "unroll": unroll, "return_state": True}
    layer = built(PeepholeLSTM(3, go_backwards=True, **options))
    x = sequences(batch=3)
    outputs, h, c = plain(layer, x[:, ::-1], MASK[:, ::-1])
    wanted = (outputs if return_sequences else h, h, c)
    for found, one in zip(layer(x, mask=MASK), wanted, strict=True):
        np.testing.assert_allclose(to_numpy(found), one, atol=1e-5)


@pytest.mark.parametrize("return_sequences", [False, True])
def test_zero_output_for_mask(return_sequences):
    layer = built(PeepholeLSTM(3, return_sequences=return_sequences, zero_output_for_mask=True))
    x = sequences(batch=3)
    outputs = np.where(MASK[:, :, None], plain(layer, x, MASK)[0], 0)
    wanted = outputs if return_sequences else outputs[:, -1]
    np.testing.assert_allclose(to_numpy(layer(x, mask=MASK)), wanted, atol=1e-5)
    assert wanted.any() == return_sequences


def test_mask_of_a_layer_before():
    model = keras.Sequential(
        [keras.Input((5, 4)), keras.layers.Masking(0.0), PeepholeLSTM(3, name="lstm")]
    )
    layer, x = built(model.get_layer("lstm")), sequences(batch=3)
    x[~MASK] = 0.0
    wanted = plain(layer, x, MASK)[1]
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mask_in_mixed_precision(policy):
    layer = built(PeepholeLSTM(3, dtype=policy, return_sequences=True, zero_output_for_mask=True))
    x = sequences(batch=3)
    found = layer(x, mask=MASK)
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    wanted = np.where(MASK[:, :, None], plain(layer, x, MASK)[0], 0)
    np.testing.assert_allclose(to_numpy(keras.ops.cast(found, "float32")), wanted, atol=0.05)


@KINDS
def test_gradients_of_loop_and_of_plain_calls(kind):
    """The loop's gradients are those of the cell called step by step, without any loop."""
    layer = built(make(kind, return_sequences=True))
    cell = layer.cell

    def step_by_step(x):
        states = [keras.ops.zeros((2, 3)), keras.ops.zeros((2, 3))]
        outputs = []
        for t in range(5):
            output, states = cell(x[:, t], states)
            outputs.append(output)
        return keras.ops.stack(outputs, axis=1)

    weights = layer.trainable_variables
    found = keras.tree.flatten(gradients(layer, weights, sequences()))
    wanted = keras.tree.flatten(gradients(step_by_step, weights, sequences()))
    assert len(found) == len(weights) + 1
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(other).max() > 1e-3
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@KINDS
def test_unroll_equals_loop(kind):
    loop = built(make(kind, return_sequences=True))
    unrolled = built(make(kind, return_sequences=True, unroll=True))
    x = sequences()
    np.testing.assert_allclose(to_numpy(loop(x)), to_numpy(unrolled(x)), atol=1e-6)
    found, wanted = (
        keras.tree.flatten(gradients(each, each.trainable_variables, x))
        for each in (unrolled, loop)
    )
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_stateful():
    """Two halves give what the whole sequence gives, and train; a reset forgets."""
    layer = built(PeepholeLSTM(3, stateful=True), (2, 3, 4))
    x = sequences(time=6)
    wanted = plain(layer, x)[0]
    for _ in range(2):
        for half in (0, 1):
            found = to_numpy(layer(x[:, 3 * half : 3 * half + 3]))
            np.testing.assert_allclose(found, wanted[:, 3 * half + 2], atol=1e-5)
        layer.reset_state()
    with pytest.raises(ValueError, match="batch size"):
        layer(x[:1, :3])


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras's fit drops states there")
def test_stateful_training():
    """From the reset the first prediction is right; from the state that it left, the next is not"""
    layer, x = built(PeepholeLSTM(3, stateful=True), (2, 3, 4)), sequences(time=3)
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, 4)), layer])
    model.compile("sgd", "mse")
    history = model.fit(x, plain(layer, x)[1], batch_size=2, epochs=2, verbose=0)
    first, second = history.history["loss"]
    assert first < 1e-9 < 1e-4 < second


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only it has a choice")
@pytest.mark.parametrize("return_sequences", [False, True])
def test_training_compiled_by_xla(return_sequences):
    """As Keras does by default where there is a GPU; the same loss as without."""
    layer = built(PeepholeLSTM(3, return_sequences=return_sequences))
    x = sequences()
    y = np.zeros(layer.compute_output_shape(x.shape), "float32")
    losses = []
    for compiled in (False, True):
        counterpart = PeepholeLSTM.from_config(layer.get_config())
        model = keras.Sequential([keras.Input((5, 4)), counterpart])
        counterpart.set_weights(layer.get_weights())
        model.compile("sgd", "mse", jit_compile=compiled)
        losses.append(model.fit(x, y, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][2] < losses[0][0]


@KINDS
def test_bidirectional(kind):
    layer = keras.layers.Bidirectional(make(kind, return_sequences=True))
    layer.build((None, 5, 4))
    built(layer.forward_layer)
    backward = built(layer.backward_layer)
    backward.set_weights([2 * weight for weight in backward.get_weights()])
    x = sequences(batch=3)
    ahead = plain(layer.forward_layer, x, MASK)[0]
    back = plain(layer.backward_layer, x[:, ::-1], MASK[:, ::-1])[0][:, ::-1]
    wanted = np.where(MASK[:, :, None], np.concatenate([ahead, back], -1), 0)
    np.testing.assert_allclose(to_numpy(layer(x, mask=MASK)), wanted, atol=1e-5)
    counterpart = keras.layers.Bidirectional.from_config(layer.get_config())
    assert type(counterpart.backward_layer) is type(layer.backward_layer)
    assert counterpart.backward_layer.go_backwards


def test_dropout():
    """It falls in training only, anew in each call, and on the same features at every step."""
    layer = built(PeepholeLSTM(3, dropout=0.5, recurrent_dropout=0.5, return_sequences=True))
    x = sequences()
    still = to_numpy(layer(x))
    np.testing.assert_allclose(still, plain(layer, x)[0], atol=1e-5)
    one, other = (to_numpy(layer(x, training=True)) for _ in range(2))
    assert np.abs(one - still).max() > 1e-3 < np.abs(one - other).max()


def test_dropout_of_inputs_is_the_same_at_every_step():
    layer = PeepholeLSTM(64, dropout=0.5, return_sequences=True)
    layer.build((None, 4, 64))
    zeros = [np.zeros(weight.shape) for weight in layer.weights[1:]]
    layer.set_weights([np.tile(np.eye(64), (1, 4)), *zeros])
    outputs = to_numpy(layer(np.ones((1, 4, 64), "float32"), training=True))[0]
    dropped = outputs == 0
    assert 10 < dropped[0].sum() < 54
    assert (dropped == dropped[0]).all()


def test_open_length():
    """One model runs sequences of several lengths."""
    inputs = keras.Input((None, 4))
    layer = PeepholeLSTM(3, return_sequences=True)
    model = keras.Model(inputs, layer(inputs))
    built(layer)
    assert model.output_shape == (None, None, 3)
    for time in (1, 3, 7):
        x = sequences(time=time)
        np.testing.assert_allclose(
            model.predict_on_batch(x), plain(layer, x)[0], atol=1e-5, err_msg=str(time)
        )


@pytest.mark.parametrize("cls", [PeepholeLSTM, CoupledLSTM])
def test_errors(cls):
    with pytest.raises(ValueError, match="needs one time step or more; received"):
        cls(3)(np.zeros((2, 0, 4), "float32"))
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=2"):
        cls(3)(np.zeros((2, 4), "float32"))
    with pytest.raises(ValueError, match="units must be a positive integer; received 0"):
        cls(0)
    with pytest.raises(ValueError, match="Unrecognized keyword arguments"):
        cls(3, peepholes=True)


def test_long_sequences_stay_finite():
    layer = built(PeepholeLSTM(3, return_sequences=True))
    x = 1e4 * sequences(time=200)
    found = to_numpy(layer(x))
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1


@pytest.mark.parametrize("kind", [PeepholeLSTM, CoupledLSTM])
def test_use_cudnn_stands_as_in_keras(kind):
    layer = kind(2, use_cudnn=False)
    assert layer.get_config()["use_cudnn"] is False
    assert kind.from_config(kind(2).get_config()).use_cudnn == "auto"
    with pytest.raises(ValueError, match=f"cuDNN has no {kind.__name__}: use_cudnn must be 'auto'"):
        kind(2, use_cudnn=True)
