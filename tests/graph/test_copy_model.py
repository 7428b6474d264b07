import keras
import numpy as np
import pytest
import strange_models as strange

from kdl._compat import all_layers
from kdl.applications import ShuffleNetV2
from kdl.compression import ConstantSparsity, flatten, prune
from kdl.graph import copy_model, copy_weights
from kdl.layers import SyncBatchNormalization, convert_sync_batch_norm

L = keras.layers


def small(**arguments):
    return ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=3, **arguments)


@pytest.mark.every_backend
def test_copy_is_of_the_same_class_and_not_compiled():
    model = small()
    model.compile("adam", "mse")
    copy = copy_model(model, name="second")
    assert type(copy) is ShuffleNetV2
    assert copy.name == "second"
    assert not copy.compiled
    assert {k: x.shape for k, x in copy.pyramid_outputs.items()} == {
        k: x.shape for k, x in model.pyramid_outputs.items()
    }
    for old, new in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.every_backend
@pytest.mark.parametrize("name", ["frozen norm", "frozen inside", "nested twice", "own class"])
def test_what_is_frozen_stays_frozen(name):
    model = strange.make(name)
    copy = copy_model(model)
    assert type(copy) is type(model)
    flags = [[layer.trainable for layer in all_layers(x)] for x in (model, copy)]
    assert flags[0] == flags[1]
    assert len(copy.trainable_weights) == len(model.trainable_weights)
    assert len(flatten(model).trainable_weights) == len(model.trainable_weights)


@pytest.mark.every_backend
def test_frozen_model_with_one_trained_layer_and_one_frozen_weight():
    model = strange.make("nested twice")
    for layer in model.layers:
        layer.trainable = False
    model.layers[-1].trainable = True
    model.layers[-1].bias.trainable = False
    assert [w.path.split("/")[-1] for w in copy_model(model).trainable_weights] == ["kernel"]


@pytest.mark.every_backend
@pytest.mark.parametrize("name", ["shared", "nested twice", "shared with nested"])
def test_shared_layers_stay_shared(name):
    model = strange.make(name)
    for copy in (copy_model(model), flatten(model)):
        assert copy.count_params() == model.count_params()


@pytest.mark.every_backend
def test_adapters_stay_apart_from_the_kernel():
    """A file of Keras holds their sum: outputs alone would not show that they are lost."""
    model = strange.make("adapters")
    for old, new in zip(model.get_weights(), copy_model(model).get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.every_backend
def test_copy_goes_its_own_way():
    model = strange.make("nested twice")
    before = model.get_weights()
    copy = copy_model(model)
    copy.compile("sgd", "mse")
    copy.fit(strange.images(), np.ones((6, 3)), verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert any((a != b).any() for a, b in zip(before, copy.get_weights(), strict=True))


@pytest.mark.every_backend
def test_model_that_is_trained_on_leaves_its_copy_alone():
    model = strange.make("nested twice")
    copy = copy_model(model)
    before = copy.get_weights()
    model.compile("sgd", "mse")
    model.fit(strange.images(), np.ones((6, 3)), verbose=0)
    for old, new in zip(before, copy.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.every_backend
def test_random_layers_go_on_with_the_same_numbers():
    model = strange.model(L.GaussianNoise(1.0))  # PyTorch draws those of Dropout elsewhere
    x = strange.images()
    model(x, training=True)
    copy = copy_model(model)
    outputs = [keras.ops.convert_to_numpy(m(x, training=True)) for m in (model, copy)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.every_backend
def test_new_weights_but_what_was_adapted():
    model = strange.make("normalization")
    fresh = copy_model(model, weights=False)
    norm, conv = ([x for x in m.layers if x.weights][:2] for m in (model, fresh))
    x = strange.images()
    np.testing.assert_allclose(*[keras.ops.convert_to_numpy(n(x)) for n in (norm[0], conv[0])])
    assert (norm[1].get_weights()[0] != conv[1].get_weights()[0]).any()
    assert not fresh.layers[-1].get_weights()[1].any()  # a bias begins at zero


def test_application_that_was_changed_in_place():
    """Synchronized norms, int8 weights, a frozen layer: its config tells of none of these."""
    model = convert_sync_batch_norm(small(), axis_name="batch")
    model.layers[-1].quantize("int8")
    model.layers[1].trainable = False
    copy = copy_model(model)
    norms = [x for x in all_layers(copy) if isinstance(x, L.BatchNormalization)]
    assert {(type(norm), norm.axis_name) for norm in norms} == {(SyncBatchNormalization, "batch")}
    assert copy.layers[-1].dtype_policy == model.layers[-1].dtype_policy
    x = np.ones((2, 32, 32, 3), "float32")
    np.testing.assert_allclose(*[m.predict(x, verbose=0) for m in (copy, model)], atol=1e-6)
    assert len(copy.trainable_weights) == len(model.trainable_weights)


@pytest.mark.every_backend
def test_pruned_model_goes_on_with_its_masks():
    model = prune(strange.make("normalization"), ConstantSparsity(0.5))
    model.step.assign(7)
    copy = copy_model(model)
    assert int(copy.step) == 7
    assert copy.schedule.sparsity == 0.5
    masks = [keras.ops.convert_to_numpy(m.masks[0]) for m in (model, copy)]
    np.testing.assert_array_equal(*masks)
    assert not masks[0].all()
    outputs = [m.predict(strange.images(), verbose=0) for m in (model, copy)]
    np.testing.assert_allclose(*outputs, rtol=1e-6)


@pytest.mark.every_backend
@pytest.mark.parametrize("name", ["unbuilt", "sequential"])
def test_sequential_models(name):
    layers = [L.Conv2D(2, 3), L.BatchNormalization()]
    model = keras.Sequential(layers, name="line")
    x = strange.images()
    if name == "sequential":
        model = keras.Sequential([keras.Input((8, 8, 3), name="image"), *layers], name="line")
    model(x)
    copy = copy_model(model)
    assert type(copy) is keras.Sequential
    assert [x.name for x in copy.layers] == [x.name for x in model.layers]
    np.testing.assert_array_equal(*[keras.ops.convert_to_numpy(m(x)) for m in (model, copy)])


@pytest.mark.every_backend
def test_optional_input_stays_optional():
    x, more = keras.Input((2,), name="x"), keras.Input((2,), name="more", optional=True)

    class Either(L.Layer):
        def call(self, x, y):
            return x if y is None else x + y

        def compute_output_shape(self, x_shape, y_shape):
            return x_shape

    model = keras.Model({"x": x, "more": more}, Either()(x, more))
    copy = copy_model(model)
    inputs = {"x": np.ones((1, 2), "float32"), "more": None}
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(copy(inputs)), [[1, 1]])


class NeedsFunction(L.Layer):
    def __init__(self, functions, **kwargs):
        super().__init__(**kwargs)
        self.functions = functions

    def call(self, x):
        return self.functions[0](x)


@pytest.mark.every_backend
def test_layer_without_a_config_is_named():
    model = strange.model(NeedsFunction([keras.ops.abs], name="needs"))
    with pytest.raises(ValueError, match=r"needs \(NeedsFunction\) cannot be copied.*get_config"):
        copy_model(model)
    with pytest.raises(ValueError, match=r"needs \(NeedsFunction\) cannot be copied"):
        flatten(model)


class Grown(L.Layer):
    """A layer whose weights depend on what its config does not tell."""

    def __init__(self, number=1, **kwargs):
        super().__init__(**kwargs)
        self.number = number

    def build(self, shape):
        self.all = [self.add_weight(shape=(), name=f"w{i}") for i in range(self.number)]

    def call(self, x):
        return x * sum(self.all)

    def get_config(self):
        return super().get_config()


@pytest.mark.every_backend
@pytest.mark.parametrize("copy", [copy_model, flatten])
def test_layer_whose_copy_has_other_weights_is_named(copy):
    with pytest.raises(ValueError, match=r"weights of grown \(Grown\) do not fit"):
        copy(strange.model(Grown(3, name="grown")))


class Around(L.Layer):
    """A layer around another one."""

    def __init__(self, part, **kwargs):
        super().__init__(**kwargs)
        self.part = part

    def call(self, x):
        return self.part(x)

    def get_config(self):
        parts = {key: getattr(self, key) for key in ("part", "around") if hasattr(self, key)}
        return {
            **super().get_config(),
            **{key: keras.saving.serialize_keras_object(part) for key, part in parts.items()},
        }

    @classmethod
    def from_config(cls, config):
        parts = {k: config.pop(k) for k in ("part", "around") if k in config}
        made = {k: keras.saving.deserialize_keras_object(v) for k, v in parts.items()}
        return cls(**config, **made)


class ToldTwice(Around):
    """A layer whose part its config tells twice, as Keras Hub's RetinaNet does its anchors."""

    def __init__(self, part, around=None, **kwargs):
        super().__init__(part, **kwargs)
        self.around = around or Around(part)

    def call(self, x):
        return self.part(self.around(x))


@pytest.mark.every_backend
@pytest.mark.parametrize("copy", [copy_model, flatten])
def test_part_without_weights_that_a_copy_has_twice(copy):
    model = strange.model(ToldTwice(L.Rescaling(3.0)))
    images = strange.images()
    expected, actual = (keras.ops.convert_to_numpy(x(images)) for x in (model, copy(model)))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.every_backend
def test_weights_that_a_copy_would_have_twice_raise():
    part = L.Dense(3)
    part.build((None, 8, 8, 3))
    with pytest.raises(ValueError, match="has 4 layers where twice has 3"):
        copy_model(strange.model(ToldTwice(part, name="twice")))


class OwnReLU(L.ReLU):
    pass


@pytest.mark.every_backend
def test_layer_that_was_replaced_in_an_application_is_named():
    model = small()
    unit = next(layer for layer in model.layers if hasattr(layer, "pointwise2_relu"))
    unit.pointwise2_relu.__class__ = OwnReLU
    with pytest.raises(ValueError, match="pointwise2_relu is a ReLU and no OwnReLU"):
        copy_model(model)


@pytest.mark.every_backend
def test_weights_of_another_model_raise_and_change_nothing():
    model, other = strange.model(L.Conv2D(4, 3)), strange.model(L.Conv2D(5, 3))
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"do not fit conv2d\w* \(Conv2D\): expected shapes"):
        copy_weights(model, other)
    with pytest.raises(ValueError, match="has 5 layers where"):
        copy_weights(strange.model(L.Conv2D(5, 3), L.ReLU(name="again")), other)
    for old, new in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.every_backend
@pytest.mark.tensorflow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its layers take text")
def test_vocabulary_is_copied():
    layer = L.StringLookup()
    layer.adapt(np.array(["cat", "dog", "cat"]))
    inputs = keras.Input((1,), dtype="string")
    for copy in (copy_model, flatten):
        made = copy(keras.Model(inputs, layer(inputs)))
        found = made(np.array([["dog"], ["cat"]]))
        assert keras.ops.convert_to_numpy(found).tolist() == [[2], [1]]


class Sized(keras.Model):
    """A model that is made from a number, of layers without names."""

    def __init__(self, filters, **arguments):
        self.filters = filters
        inputs = keras.Input((8, 8, 3))
        x = L.Bidirectional(L.GRU(2))(L.Reshape((64, filters))(L.Conv2D(filters, 1)(inputs)))
        super().__init__(inputs, L.Activation("tanh")(x), **arguments)

    def get_config(self):
        return {"filters": self.filters, "name": self.name}


@pytest.mark.every_backend
def test_layers_without_names_keep_those_that_they_have():
    model = Sized(4)
    copy = copy_model(model, name="second")
    assert copy.name == "second"
    names = [[layer.name for layer in all_layers(x)[1:]] for x in (model, copy)]
    assert names[0] == names[1]
    assert copy.get_layer(model.layers[-1].name) is copy.layers[-1]


@pytest.mark.every_backend
def test_layers_that_draw_nothing_have_no_seeds_to_copy():
    def model(rate):
        layers = [keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dropout(rate)]
        return keras.Sequential([*layers, keras.layers.Dense(2)])

    one, other = model(0.5), model(0.0)
    copy_weights(one, other)
    assert all(map(np.array_equal, one.get_weights(), other.get_weights()))
    still = copy_model(one, edit=lambda c: {**c, "rate": 0.0} if "rate" in c else c)
    assert all(map(np.array_equal, one.get_weights(), still.get_weights()))


def siamese():
    """Two towers of one encoder, of which one goes along the frames of a clip."""
    encoder = keras.Sequential([keras.Input((4,)), L.Dense(3)], name="encoder")
    clip, image = keras.Input((5, 4)), keras.Input((4,))
    clips = L.TimeDistributed(encoder)(clip)
    return keras.Model([clip, image], L.Dot(-1)([clips, encoder(image)]))


def two_directions():
    """A cell of two recurrent layers."""
    cell, inputs = L.LSTMCell(3), keras.Input((5, 4))
    backward = L.RNN(cell, go_backwards=True)(inputs)
    return keras.Model(inputs, L.Add()([L.RNN(cell)(inputs), backward]))


class OfList(L.Layer):
    """A layer around those in a list."""

    def __init__(self, parts, **kwargs):
        super().__init__(**kwargs)
        self.parts = parts

    def call(self, x):
        return sum(part(x) for part in self.parts)

    def get_config(self):
        return {
            **super().get_config(),
            "parts": [*map(keras.saving.serialize_keras_object, self.parts)],
        }

    @classmethod
    def from_config(cls, config):
        parts = [keras.saving.deserialize_keras_object(part) for part in config.pop("parts")]
        return cls(parts, **config)


def list_and_call():
    part, inputs = L.Dense(3), keras.Input((4,))
    return keras.Model(inputs, L.Add()([OfList([part, L.Dense(3)])(inputs), part(inputs)]))


def nested_deep():
    """An encoder two levels down and by itself, and a part of it."""
    encoder = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(2)], name="encoder")
    features = keras.Model(encoder.inputs, encoder.layers[0].output)
    clips, image = keras.Input((2, 5, 4)), keras.Input((4,))
    deep = L.TimeDistributed(L.TimeDistributed(encoder))(clips)
    return keras.Model([clips, image], [deep, encoder(image), features(image)])


def part_of_a_part():
    """A layer of a model within a wrapper, by itself."""
    encoder = keras.Sequential([keras.Input((4,)), L.Dense(3)], name="encoder")
    features = keras.Model(encoder.inputs, encoder.layers[0].output)
    clip, image = keras.Input((5, 4)), keras.Input((4,))
    return keras.Model([clip, image], [L.TimeDistributed(encoder)(clip), features(image)])


class Tied(L.Layer):
    """A layer with another name for a part of its part."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = keras.Sequential([keras.Input((4,)), L.Dense(4)])
        self.dense = self.block.layers[0]

    def call(self, x):
        return self.dense(self.block(x))


def tied():
    inputs = keras.Input((4,))
    return keras.Model(inputs, Tied()(inputs))


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "make", [siamese, two_directions, list_and_call, nested_deep, part_of_a_part, tied]
)
def test_layers_that_others_hold_stay_shared(make):
    model = make()
    copy = copy_model(model)
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]
    inputs = [np.random.default_rng(0).random((2, *x.shape[1:]), "float32") for x in model.inputs]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    expected, actual = (
        keras.tree.flatten(network.predict(inputs, verbose=0)) for network in (model, copy)
    )
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Anchors(L.Layer):
    """A layer with arrays in a list, and another value set since."""

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.sizes = [np.float32(size) for size in sizes]
        self.scale = {"base": [np.float32([1.0, 1.0])]}

    def call(self, x):
        return x * self.sizes[0][0] * self.scale["base"][0][0]

    def get_config(self):
        return {**super().get_config(), "sizes": [size.tolist() for size in self.sizes]}


def test_arrays_in_lists_and_dictionaries_are_copied():
    layer = Anchors([[1, 2], [3, 4]])
    layer.scale["base"][0] = np.float32([3.0, 2.0])
    model = keras.Sequential([keras.Input((2,)), layer])
    copied = copy_model(model).layers[-1]
    np.testing.assert_array_equal(copied.scale["base"][0], [3.0, 2.0])
    np.testing.assert_array_equal(copied.sizes, layer.sizes)
    assert copied.scale["base"] is not layer.scale["base"]


def test_thawed_layer_of_a_frozen_model_stays_thawed():
    norm = keras.layers.BatchNormalization()
    inputs = keras.Input((2,))
    inner = keras.Model(inputs, keras.layers.Dense(2)(norm(inputs)))
    x = outer_inputs = keras.Input((2,))
    model = keras.Model(outer_inputs, inner(norm(x)))
    inner.trainable = False
    norm.trainable = True
    copy = copy_model(model)
    [theirs] = [x for x in copy._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    assert theirs.trainable
    assert not copy.layers[-1].trainable
    assert [w.trainable for w in copy.weights] == [w.trainable for w in model.weights]
