"""A pass reads a model once, and makes each new layer once."""

import collections
import gc
import weakref

import keras
import numpy as np
import pytest

from kdl.compression import calibrate, flatten, fold_batch_norm, quantize_aware
from kdl.deploy import rewrite_for
from kdl.deploy.exporting.signature import output_names
from kdl.graph.inline import inline
from kdl.graph.read_graph import read_graph
from kdl.graph.rebuild import rebuild
from kdl.graph.substitute import substitute
from kdl.layers._block import Block

counts = collections.Counter()


class Counted(keras.layers.Layer):
    """Counts how often it is made, and called symbolically."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        counts["made"] += 1

    def call(self, x):
        return x

    def compute_output_spec(self, x):
        counts["called"] += 1
        return keras.KerasTensor(x.shape, dtype=x.dtype)


class CountedBlock(Block):
    """Counts how often it is entered."""

    def build(self, shape):
        self.conv = keras.layers.Conv2D(3, 1, data_format="channels_last", name="conv")
        self.conv.build(shape)

    def call(self, x):
        counts["entered"] += 1
        return self.conv(x)

    def compute_output_shape(self, shape):
        return shape


def images(samples=4):
    return np.random.default_rng(0).random((samples, 6, 6, 3)).astype("float32")


def model():
    x = inputs = keras.Input((6, 6, 3))
    x = CountedBlock(name="block")(x)
    x = keras.layers.BatchNormalization(axis=-1)(x)
    x = Counted(name="counted")(x)
    inner = keras.Input((6, 6, 3))
    outputs = keras.layers.DepthwiseConv2D(3, data_format="channels_last")(inner)
    x = keras.Model(inner, keras.layers.ReLU()(outputs), name="nested")(x)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))


PASSES = {
    "flatten": flatten,
    "fold_batch_norm": fold_batch_norm,
    "rewrite_for": lambda model: rewrite_for(model, "gpu"),
    "quantize_aware": lambda model: quantize_aware(model, images(), verbose=0),
    "live": lambda model: quantize_aware(model, images(), batch_norm="live", verbose=0),
    "calibrate": lambda model: calibrate(model, images(), verbose=0),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_enters_a_block_once_and_makes_and_calls_a_new_layer_once(name):
    original = model()
    counts.clear()
    PASSES[name](original)
    assert counts == {"entered": 1, "made": 1, "called": 1}


def test_reading_a_model_calls_and_makes_nothing():
    original = model()
    counts.clear()
    graph = read_graph(original)
    assert not counts
    assert [node.kind for node in graph.nodes][1] == "BatchNormalization"
    assert graph.nodes[0].operation is original.get_layer("block")


def test_nodes_are_in_the_order_in_which_keras_runs_the_model():
    inputs = keras.Input((4,))
    long = keras.layers.Dense(4, name="b")(keras.layers.Dense(4, name="a")(inputs))
    short = keras.layers.Dense(4, name="c")(inputs)
    shared = keras.layers.Dense(4, name="s")
    outputs = keras.layers.Add(name="add")([shared(short), long, shared(long)])
    original = keras.Model(inputs, [outputs, shared(inputs)])
    order = []
    keras.models.clone_model(
        original,
        clone_function=lambda layer: layer,
        call_function=lambda layer, *args, **kwargs: order.append(layer.name) or layer(*args),
    )
    assert [node.name for node in read_graph(original).nodes] == order


def test_a_long_model_needs_no_deep_recursion():
    x = inputs = keras.Input((2,))
    for _ in range(300):
        x = keras.ops.relu(x)
    assert len(inline(read_graph(keras.Model(inputs, x))).nodes) == 300


def test_a_shared_layer_s_replacement_stays_shared():
    dense, inputs = keras.layers.Dense(3, name="d"), keras.Input((3,))
    original = keras.Model(inputs, dense(keras.ops.relu(dense(inputs))))

    def replace(node, args, kwargs, once):
        if node.kind != "Dense":
            return None
        layer = once("_new", lambda name: keras.layers.Dense(3, use_bias=False, name=name))
        return layer(*args)

    graph = substitute(read_graph(original), replace)
    first, _, last = graph.nodes
    assert first.operation is last.operation
    assert first.name == "d_new"
    assert len(rebuild(graph).trainable_weights) == 1


def test_new_layers_do_not_live_as_long_as_the_model_that_they_are_made_of():
    original = model()
    new = weakref.ref(fold_batch_norm(original).get_layer("block_conv"))
    gc.collect()
    assert new() is None


def two_heads():
    """A list of a head with an activation, a shared one twice, a part of a model, and states."""
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(inputs)
    shared = keras.layers.Dense(2, activation="tanh", name="shared")
    states = keras.layers.LSTM(2, return_state=True, name="states")(keras.ops.expand_dims(x, 1))
    head = keras.Input((3,))
    nested = keras.Model(head, keras.layers.Dense(2, name="last")(head), name="nested")
    main = keras.layers.Dense(2, activation="softmax", name="main")(x)
    outputs = [main, shared(x), shared(x * 2), nested(x), *states[1:]]
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("name", PASSES)
def test_outputs_in_a_list_keep_their_names_through_a_pass(name, tmp_path):
    original = two_heads()
    new = PASSES[name](original)
    new = new[0] if isinstance(new, tuple) else new
    names = ["main", "shared_0", "shared_1", "nested", "states_0", "states_1"]
    assert output_names(original) == output_names(new) == names
    new.save(tmp_path / "model.keras")
    assert output_names(keras.saving.load_model(tmp_path / "model.keras")) == names


@pytest.mark.parametrize("name", PASSES)
def test_an_output_that_another_operation_reads_keeps_its_name(name):
    inputs = keras.Input((6, 6, 3))
    conv = keras.layers.Conv2D(5, 3, name="scores", data_format="channels_last")
    scores = conv(inputs)
    pool = keras.layers.GlobalAveragePooling2D(name="pool", data_format="channels_last")
    original = keras.Model(inputs, [scores, keras.ops.argmax(scores, -1), pool(scores)])
    new = PASSES[name](original)
    new = new[0] if isinstance(new, tuple) else new
    assert output_names(new) == output_names(original)
    assert output_names(new)[0::2] == ["scores", "pool"]


@pytest.mark.parametrize("name", ["flatten", "calibrate"])
def test_an_input_that_is_given_as_an_output_keeps_its_name(name):
    inputs = keras.Input((6, 6, 3), name="state")
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(inputs)
    original = keras.Model(inputs, [inputs, keras.layers.Dense(2, "relu", name="main")(x)])
    new = PASSES[name](original)
    new = new[0] if isinstance(new, tuple) else new
    assert output_names(new) == ["state", "main"]
    assert [x.name for x in new.inputs] == ["state"]


@pytest.mark.every_backend
def test_a_quantized_model_is_compiled_by_the_names_of_its_outputs():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Flatten(data_format="channels_last")(inputs)
    ends = [keras.layers.Dense(2, activation="softmax", name=name)(x) for name in ("main", "aux")]
    quantized, _ = quantize_aware(keras.Model(inputs, ends), images(), verbose=0)
    quantized.compile("sgd", loss={"main": "mse", "aux": "mae"})
    logs = quantized.fit(images(), [np.zeros((4, 2)), np.ones((4, 2))], verbose=0).history
    assert {"main_loss", "aux_loss"} <= set(logs)


def test_tensors_passed_by_name_are_found():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(4, 3, data_format="channels_last")(inputs=inputs)
    x = keras.layers.ReLU()(inputs=keras.layers.BatchNormalization(axis=-1)(inputs=x))
    head = keras.Input((4, 4, 4))
    nested = keras.Model(head, keras.layers.Flatten(data_format="channels_last")(head))
    original = keras.Model(inputs, keras.layers.Dense(2)(inputs=nested(inputs=x)))
    expected = original.predict(images(), verbose=0)
    for name in ("flatten", "fold_batch_norm", "calibrate"):
        new = PASSES[name](original)
        new = new[0] if isinstance(new, tuple) else new
        error = np.abs(new.predict(images(), verbose=0) - expected).max()
        assert error < 0.1 * np.ptp(expected)


@pytest.mark.parametrize("name", PASSES)
def test_all_outputs_of_a_sequential_model_are_kept(name):
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Flatten(data_format="channels_last")(inputs)
    outputs = {key: keras.layers.Dense(2, "relu", name=key)(x) for key in ("boxes", "scores")}
    layers = [keras.layers.Rescaling(2.0), keras.Model(inputs, outputs)]
    original = keras.Sequential([keras.Input((6, 6, 3)), *layers])
    new = PASSES[name](original)
    new = new[0] if isinstance(new, tuple) else new
    assert output_names(original) == output_names(new) == ["boxes", "scores"]


def test_outputs_keep_their_dtype_whatever_the_global_policy():
    inputs, head = keras.Input((4,)), keras.Input((4,))
    names = ("main", "aux")
    heads = [keras.Model(head, keras.layers.Dense(2, "softmax")(head), name=n) for n in names]
    original = keras.Model(inputs, [one(inputs) for one in heads])
    keras.config.set_dtype_policy("mixed_float16")
    try:
        new = flatten(original)
    finally:
        keras.config.set_dtype_policy("float32")
    assert [x.dtype for x in new.outputs] == ["float32", "float32"]
    assert output_names(new) == ["main", "aux"]


class Gate(keras.layers.Layer):
    """Takes its tensors by name alone."""

    def call(self, *, x, gate):
        return x * gate

    def compute_output_shape(self, x_shape, gate_shape):
        return x_shape


def test_tensors_that_a_layer_takes_by_name_alone_stay_so():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Flatten(data_format="channels_last")(inputs)
    gated = Gate()(x=x, gate=keras.layers.Activation("sigmoid")(x))
    original = keras.Model(inputs, gated)
    np.testing.assert_allclose(
        flatten(original).predict(images(), verbose=0), original.predict(images(), verbose=0)
    )


def test_a_pass_tells_what_it_no_longer_shares():
    dense = keras.layers.Dense(3, name="shared")
    clip, image = keras.Input((5, 4)), keras.Input((4,))
    outputs = [keras.layers.TimeDistributed(dense, name="clips")(clip), dense(image)]
    with pytest.warns(UserWarning, match="clips and shared share shared, of which the new model"):
        flat = flatten(keras.Model([clip, image], outputs))
    assert len(flat.trainable_weights) == 4
