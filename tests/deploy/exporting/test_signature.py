import keras
import numpy as np
import pytest

from kdl.compression import calibrate
from kdl.deploy import export_tflite
from kdl.deploy.exporting.signature import (
    check_exportable,
    output_kinds,
    output_names,
    output_paths,
)


def functional(*tail):
    x = inputs = keras.Input((4,))
    for step in tail:
        x = step(x)
    return keras.Model(inputs, x)


def sequential(*layers, shape=(4,)):
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: functional(keras.layers.Dense(2, "softmax")), "probabilities"),
        (lambda: functional(keras.layers.Dense(2, "sigmoid")), "probabilities"),
        (lambda: functional(keras.layers.Dense(2), keras.layers.Softmax()), "probabilities"),
        (lambda: functional(keras.layers.Activation("softmax")), "probabilities"),
        (lambda: functional(keras.layers.Dense(2), keras.ops.softmax), "probabilities"),
        (lambda: functional(keras.layers.Dense(2)), "logits"),
        (lambda: functional(keras.layers.Dense(2), keras.ops.square), "logits"),
        (lambda: functional(sequential(keras.layers.Dense(2, "softmax"))), "probabilities"),
        (lambda: sequential(keras.layers.Dense(2)), "logits"),
        (lambda: sequential(functional(keras.layers.Dense(2, "softmax"))), "probabilities"),
        (lambda: sequential(keras.layers.Conv2D(2, 1), shape=(4, 4, 3)), "features"),
    ],
)
def test_the_output_is_named_by_what_it_is(make, name):
    model = make()
    check_exportable(model)
    assert output_names(model) == [name]


def test_a_sequential_model_that_was_only_built():
    model = keras.Sequential([keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="built functional or Sequential"):
        check_exportable(model)
    model.build((None, 4))
    assert output_names(model) == ["logits"]


def outputs_of(kind):
    inputs = keras.Input((4,))
    a, b = keras.layers.Dense(2, name="a")(inputs), keras.layers.Dense(3, name="b")(inputs)
    shared = keras.layers.Dense(2, name="d")
    pair = keras.Model(inputs, [shared(inputs), shared(inputs * 2)], name="pair")
    outputs = {
        "list": [b, a],
        "dict": {"y": b, "x": a},
        "dict of one": {"only": a},
        "dict of a nested dict": {"boxes": {"p4": a, "p3": b}},
        "lists in a dict": {"boxes": [a, b], "scores": (b,)},
        "dicts in a list": [{"x": a}, {"x": b}],
        "integers as keys": {1: a, 0: b},
        "joined keys that meet others": {"a": {"b": a}, "a_b": b},
        "the same tensor twice": [a, a],
        "a layer that is shared": [*pair(inputs), a],
        "other alphabets": [
            keras.layers.Dense(2, name=name)(inputs) for name in ("größe 1", "grosse 1", "выход")
        ],
    }
    return keras.Model(inputs, outputs[kind])


@pytest.mark.parametrize(
    "end", [keras.ops.mean, keras.ops.transpose, lambda x: x[:, :0]], ids=["mean", "turned", "none"]
)
def test_outputs_that_no_sample_has_are_refused(end):
    model = functional(keras.layers.Dense(3), end)
    with pytest.raises(ValueError, match=r"samples as its first axis, and elements; one of .* has"):
        check_exportable(model)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("list", ["b", "a"]),
        ("dict", ["x", "y"]),
        ("dict of one", ["only"]),
        ("dict of a nested dict", ["boxes_p3", "boxes_p4"]),
        ("lists in a dict", ["boxes_0", "boxes_1", "scores_0"]),
        ("dicts in a list", ["output_0_x", "output_1_x"]),
        ("integers as keys", ["output_0", "output_1"]),
        ("joined keys that meet others", ["a_b_0", "a_b_1"]),
        ("the same tensor twice", ["a_0", "a_1"]),
        ("a layer that is shared", ["pair_0", "pair_1", "a"]),
        ("other alphabets", ["groe_1", "grosse_1", "output"]),
    ],
)
def test_several_outputs_have_names_of_their_own(kind, names):
    model = outputs_of(kind)
    nested = kind == "dict of a nested dict"  # which PyTorch's trees leave in the order they have
    assert (sorted(output_names(model)) if nested else output_names(model)) == names
    assert len(output_paths(model)) == len(keras.tree.flatten(model.output))
    for name, path, output in zip(
        output_names(model), output_paths(model), keras.tree.flatten(model.output), strict=True
    ):
        if kind == "dict of a nested dict":
            assert name == "_".join(path)
            assert output.shape[1] == {"boxes_p4": 2, "boxes_p3": 3}[name]
    loaded = type(model).from_config(model.get_config())
    assert sorted(output_names(loaded)) == sorted(names)


def test_one_output_out_of_a_model_with_several_is_named_by_its_own_end():
    inputs = keras.Input((4,))
    ends = [keras.layers.Dense(2)(inputs), keras.layers.Dense(2, activation="softmax")(inputs)]
    inner = keras.Model(inputs, ends)
    for place, name in enumerate(("logits", "probabilities")):
        assert output_names(keras.Model(inputs, inner(inputs)[place])) == [name]


def test_a_quantized_model_names_its_outputs_as_the_model_that_it_came_from():
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(3, name="d")
    models = [
        keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(inputs)),
        keras.Model(inputs, [shared(inputs), shared(inputs * 2)]),
    ]
    for model in models:
        quantized, _ = calibrate(model, np.ones((4, 4), "float32"), verbose=0)
        assert output_names(quantized) == output_names(model)


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("features", lambda x: keras.layers.UnitNormalization()(keras.layers.Flatten()(x))),
        ("features", lambda x: keras.layers.LSTM(4)(x)),
        ("features", lambda x: keras.layers.Bidirectional(keras.layers.GRU(4))(x)),
        ("features", lambda x: {"embedding": keras.layers.Flatten()(x)}),
        ("boxes", lambda x: {"raw_boxes": keras.layers.Flatten()(x)}),
        ("scores", lambda x: {"logits": x}),
        (None, lambda x: keras.layers.Flatten()(x)),
    ],
)
def test_keys_and_last_operations_tell_kinds(kind, make):
    inputs = keras.Input((6, 4))
    assert output_kinds(keras.Model(inputs, make(inputs))) == [kind]


@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_layers_that_keras_has_quantized_have_no_file(mode):
    model = sequential(keras.layers.Dense(2, name="d"))
    model.layers[-1].quantize(mode)
    with pytest.raises(ValueError, match=f"d of .* to {mode} by Keras.* as it was before"):
        check_exportable(model)


def test_layers_that_keras_has_packed_into_int4_compute_in_floats():
    model = sequential(keras.layers.Dense(2))
    model.layers[-1].quantize("int4")
    check_exportable(model)


@pytest.mark.export
def test_fixed_batch_is_told_and_exported(tmp_path):
    inputs = keras.Input(batch_shape=(4, 6))
    x = keras.layers.Dense(4)(inputs)
    model, path = keras.Model(inputs, keras.ops.reshape(x, (4, 2, 2))), tmp_path / "m.tflite"
    with pytest.raises(ValueError, match=r"made for batches of 4, .* no form for 1: pass that"):
        export_tflite(model, path)
    data = np.random.default_rng(0).random((10, 6)).astype("float32")
    result = export_tflite(model, path, batch_size=4, verification_data=data)
    assert result.samples == 10


def test_states_that_are_kept_between_calls_have_no_file(tmp_path):
    inputs = keras.Input(batch_shape=(1, 3, 2))
    model = keras.Model(inputs, keras.layers.LSTM(2, stateful=True, name="kept")(inputs))
    with pytest.raises(ValueError, match=r"kept of .* keeps its states .* stateful=False"):
        export_tflite(model, tmp_path / "m.tflite")


class Forgets(keras.layers.Layer):
    """Saves one of its two weights, as some position embeddings of Keras Hub do."""

    def build(self, shape):
        self.scale, self.shift = (self.add_weight(shape[-1:], name=n) for n in ("scale", "shift"))

    def call(self, x):
        return x * self.scale + self.shift

    def save_own_variables(self, store):
        store["0"] = self.scale

    def load_own_variables(self, store):
        self.scale.assign(store["0"])
        self.shift.assign(keras.ops.zeros_like(self.shift))


def test_weights_that_a_layer_does_not_save_are_told():
    model = sequential(Forgets(name="forgets"))
    model.layers[0].shift.assign([0.0, 0.0, 0.0, 0.0])
    check_exportable(model)
    model.layers[0].shift.assign([1.0, 2.0, 3.0, 4.0])
    with pytest.raises(ValueError, match=r"weights of forgets \(Forgets\) come out of the file"):
        check_exportable(model)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.layers[0].shift), [1, 2, 3, 4])


def test_lambda_that_reads_its_script_has_no_file():
    layer = keras.layers.Lambda(lambda x: keras.ops.abs(x), output_shape=(4,), name="absolute")
    with pytest.raises(ValueError, match="lambda of absolute reads keras of its script"):
        check_exportable(sequential(layer))


class OwnDense(keras.layers.Dense):
    """Saves its weights as Keras's does: with adapters, the sum."""


def test_adapters_and_weights_that_are_not_finite_are_no_fault_of_saving():
    layer = OwnDense(3)
    model = sequential(layer)
    check_exportable(model)
    layer.kernel.assign(np.full((4, 3), np.nan))
    check_exportable(model)
    layer.kernel.assign(np.ones((4, 3)))
    layer.enable_lora(2)
    check_exportable(model)


class Broken(Forgets):
    def load_own_variables(self, store):
        self.scale.assign(keras.ops.zeros_like(self.scale))
        raise KeyError("1")


def test_a_layer_that_cannot_load_what_it_saves_is_named_and_left_as_it_was():
    model = sequential(Broken(name="broken"))
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"weights of broken \(Broken\)"):
        check_exportable(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
