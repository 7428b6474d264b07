import keras
import numpy as np
import pytest

from kdl.training import save_portable

pytestmark = pytest.mark.every_backend


@keras.saving.register_keras_serializable("kdl_tests")
class TwoHeads(keras.Model):
    """A subclass, whose configuration says nothing of its input."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first, self.second = keras.layers.Dense(units), keras.layers.Dense(units)

    def call(self, x):
        return self.first(x) + self.second(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_subclassed_model_is_saved_and_loaded(tmp_path):
    x = np.arange(6, dtype="float32").reshape(2, 3)
    model = TwoHeads(4)
    model.compile("adam", "mse")
    model.fit(x, np.ones((2, 4)), verbose=0)
    save_portable(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    assert (loaded.predict(x, verbose=0) == model.predict(x, verbose=0)).all()


@keras.saving.register_keras_serializable("kdl_tests")
class Rounds(keras.layers.Layer):
    """Writes its weights other than they are, as some of Keras Hub's position embeddings do."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale

    def save_own_variables(self, store):
        store["0"] = np.round(keras.ops.convert_to_numpy(self.scale))

    def load_own_variables(self, store):
        self.scale.assign(store["0"])


def test_file_without_the_weights_raises(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Rounds(name="rounds")])
    model.layers[0].scale.assign([1.0, 2.0, -3.0])
    save_portable(model, tmp_path / "model.keras")
    before = (tmp_path / "model.keras").read_bytes()
    model.layers[0].scale.assign([1.0, 2.5, -3.0])
    with pytest.raises(ValueError, match=r"rounds \(Rounds\) come out of the file other"):
        save_portable(model, tmp_path / "model.keras")
    assert (tmp_path / "model.keras").read_bytes() == before


def test_layers_of_one_shape_get_their_own_weights_whatever_the_keys_of_outputs(tmp_path):
    """In a file layers stand in the order of the outputs, and keys of numbers become text."""
    x = np.arange(6, dtype="float32").reshape(2, 3)
    inputs = keras.Input((3,))
    first, second, third, fourth = (keras.layers.Dense(2, name=n)(inputs) for n in "pqrs")
    model = keras.Model(inputs, {10: first, 2: second, 1: {"b": third, "a": [fourth]}})
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(weight + index)
    expected = model.predict(x, verbose=0)
    save_portable(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    # As all backends sort them: those that take the keys as they come do so, too.
    assert [layer.name for layer in loaded.layers[1:]] == ["s", "r", "p", "q"]
    found = loaded.predict(x, verbose=0)
    pairs = {10: "10", 2: "2"}
    for key, text in pairs.items():
        np.testing.assert_allclose(found[text], expected[key], rtol=1e-6)
    np.testing.assert_allclose(found["1"]["b"], expected[1]["b"], rtol=1e-6)
    np.testing.assert_allclose(found["1"]["a"][0], expected[1]["a"][0], rtol=1e-6)


def test_nested_model_whose_outputs_have_keys_in_another_order(tmp_path):
    x = np.arange(6, dtype="float32").reshape(2, 3)
    inputs = keras.Input((3,))
    first, second, third, fourth = (keras.layers.Dense(2, name=n)(inputs) for n in "pqrs")
    keys = {10: first, 2: second, 1: {"z": third, "b": [fourth, inputs * 3]}}
    inner = keras.Model(inputs, keys, name="inner")
    middle = keras.Model(inputs, inner(inputs), name="middle")
    outputs = middle(inputs * 2)
    model = keras.Model(
        inputs,
        [outputs[10], outputs[2], outputs[1]["z"], *outputs[1]["b"]],
    )
    for index, weight in enumerate(model.trainable_weights):
        weight.assign(weight + index)
    save_portable(model, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    pairs = zip(loaded.predict(x, verbose=0), model.predict(x, verbose=0), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_lambda_that_reads_its_script_is_refused(tmp_path):
    inputs = keras.Input((4, 3))
    layer = keras.layers.Lambda(lambda x: np.mean(x, 1), output_shape=(3,), name="pool")
    model = keras.Model(inputs, layer(inputs))
    with pytest.raises(ValueError, match="lambda of pool reads np of its script"):
        save_portable(model, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())
    plain = keras.layers.Lambda(lambda x: abs(x) * 2)
    save_portable(keras.Sequential([inputs, plain]), tmp_path / "model.keras")


@pytest.mark.parametrize(
    "argument", ["activation", "bias_initializer", "kernel_regularizer", "kernel_constraint"]
)
def test_lambda_for_an_argument_is_refused(argument, tmp_path):
    functions = {
        "activation": lambda x: x * 2,
        "bias_initializer": lambda shape, dtype=None: keras.ops.ones(shape),
        "kernel_regularizer": lambda x: keras.ops.sum(x),
        "kernel_constraint": lambda x: x,
    }
    layer = keras.layers.Dense(3, name="head", **{argument: functions[argument]})
    model = keras.Sequential([keras.Input((4,)), layer])
    with pytest.raises(ValueError, match=rf"{argument} of head is a lambda.*register it"):
        save_portable(model, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def with_encoder_twice(wrap):
    """An encoder within a wrapper or a model, and by itself."""
    encoder = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="encoder")
    clip, image = keras.Input((5, 4)), keras.Input((4,))
    if wrap:
        first = keras.layers.TimeDistributed(encoder)(clip)
    else:
        inner = keras.Input((5, 4))
        first = keras.Model(inner, encoder.layers[0](inner), name="nested")(clip)
    return keras.Model([clip, image], [first, encoder(image)])


@pytest.mark.parametrize("wrap", [True, False])
def test_layer_that_a_file_would_hold_twice_is_refused(wrap, tmp_path):
    with pytest.raises(ValueError, match=r"is shared by a wrapper or a model within the model"):
        save_portable(with_encoder_twice(wrap), tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("kdl-tests")
@keras.saving.register_keras_serializable("kdl-tests")
class Doubled(keras.layers.Layer):
    """Names a function of its own, which is a lambda."""

    def __init__(self, activation="double", **kwargs):
        super().__init__(**kwargs)
        self.kind, self.activation = activation, {"double": lambda x: 2 * x}[activation]

    def call(self, x):
        return self.activation(x)

    def get_config(self):
        return {**super().get_config(), "activation": self.kind}


def test_lambda_that_a_class_knows_by_name_is_saved(tmp_path):
    model = keras.Sequential([keras.Input((4,)), Doubled()])
    save_portable(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert float(loaded(np.ones((1, 4)))[0, 0]) == 2


@keras.saving.register_keras_serializable("kdl-tests")
class Split(keras.Model):
    """Is given two models, which share a layer, and tells each by itself."""

    def __init__(self, first, second, **kwargs):
        inputs = keras.Input(first.input_shape[1:])
        super().__init__(inputs, keras.layers.Add()([first(inputs), second(inputs)]), **kwargs)
        self.first, self.second = first, second

    def get_config(self):
        parts = {"first": self.first, "second": self.second}
        return {key: keras.saving.serialize_keras_object(x) for key, x in parts.items()}

    @classmethod
    def from_config(cls, config):
        config.pop("name", None)
        return cls(**{k: keras.saving.deserialize_keras_object(x) for k, x in config.items()})


def test_layer_that_a_class_of_its_own_tells_twice_is_refused(tmp_path):
    shared = keras.layers.Dense(3)
    parts = []
    for _ in range(2):
        x = keras.Input((4,))
        parts.append(keras.Model(x, shared(x)))
    with pytest.raises(ValueError, match="is shared by a wrapper or a model within the model"):
        save_portable(Split(*parts), tmp_path / "model.keras")


@keras.saving.register_keras_serializable("kdl-tests")
class WithParts(keras.Model):
    """Has the layers of its encoder in another model, too, and makes both from one argument."""

    def __init__(self, encoder, **kwargs):
        features = keras.Model(encoder.inputs, encoder.layers[1].output)
        inputs = keras.Input(encoder.input_shape[1:])
        super().__init__(inputs, keras.layers.Dense(2)(features(inputs)), **kwargs)
        self.encoder, self.features = encoder, features

    def get_config(self):
        return {"encoder": keras.saving.serialize_keras_object(self.encoder), "name": self.name}

    @classmethod
    def from_config(cls, config):
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"))
        return cls(encoder, **config)


def test_layer_that_a_class_of_its_own_shares_among_its_parts_is_saved(tmp_path):
    x = keras.Input((4,))
    hidden = keras.layers.Dense(3)(x)
    model = WithParts(keras.Model(x, keras.layers.Dense(5)(hidden)))
    save_portable(model, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = np.ones((2, 4), "float32")
    np.testing.assert_allclose(loaded.predict(images), model.predict(images), rtol=1e-6)


def test_layer_called_twice_is_saved(tmp_path):
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4)
    save_portable(keras.Model(inputs, dense(dense(inputs))), tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").count_params() == 20
