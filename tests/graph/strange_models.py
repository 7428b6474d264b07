"""Small models of layers that are easily copied wrong, each of one image of 8×8×3."""

import keras
import numpy as np
from keras import ops

from kdl._compat import all_layers
from kdl.layers import Conv2D as FastConv2D

L = keras.layers

OFFSET = 0.25  # what a lambda reads of its module


def images(number=6):
    rng = np.random.default_rng(0)
    return (rng.random((number, 8, 8, 3)) * [10, 100, 1] + [5, -50, 0]).astype("float32")


class Scale(L.Layer):
    """A layer with a weight that Keras does not know."""

    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.shift = self.add_weight(shape=shape[-1:], initializer="ones", name="shift")

    def call(self, x):
        return self.factor * x + self.shift

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


class ResizedScale(Scale):
    """One that computes what it writes to a file, and forgets its own weight by it."""

    def save_own_variables(self, store):
        self.shift.assign(ops.convert_to_tensor(self.shift) / 2)
        super().save_own_variables(store)


class AutomaticScale(L.Layer):
    """One whose config is Keras's own, which loses the name."""

    def __init__(self, factor, **kw):
        super().__init__(**kw)
        self.factor = factor

    def build(self, shape):
        self.shift = self.add_weight(shape=shape[-1:], initializer="ones", name="shift")

    def call(self, x):
        return self.factor * x + self.shift


class ForgetfulScale(Scale):
    """One whose config leaves an argument out."""

    def get_config(self):
        return L.Layer.get_config(self)


class OwnModel(keras.Model):
    """A subclass that is made of inputs and outputs."""


class ReLU(L.ReLU):
    """Called as one of Keras's, and of other results."""

    def call(self, x):
        return ops.square(super().call(x))


class Average(L.Layer):
    """The same."""

    def call(self, xs):
        return (xs[0] + 3 * xs[1]) / 4

    def compute_output_shape(self, shapes):
        return shapes[0]


class OwnConvolution(FastConv2D):
    """A subclass of a layer for which kdl has one of Keras's."""

    def call(self, x):
        return 2 * super().call(x)


class OwnCall(keras.Model):
    """A functional model with more than its graph."""

    def call(self, x, training=None, mask=None):
        return ops.abs(super().call(x, training, mask))


def squared(x):
    """A function that is not registered."""
    return ops.square(x)


def model(*layers):
    """The layers one after the other, then a mean over the pixels and a dense layer."""
    x = inputs = keras.Input((8, 8, 3))
    for layer in layers:
        x = layer(x)
    x = L.Dense(3, name="head")(L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def normalized(axis, invert=False):
    norm = L.Normalization(axis, invert=invert)
    norm.adapt(images())
    return model(norm, L.Conv2D(4, 3))


def frozen_norm():
    norm = L.BatchNormalization(epsilon=0.1)
    norm.trainable = False
    return model(L.Conv2D(4, 3), norm, L.ReLU())


def frozen_inside():
    inner = keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(3, 1), L.BatchNormalization()])
    inner.layers[0].trainable = False
    return model(inner)


def lambdas():
    return model(L.Lambda(lambda x: ops.abs(x) + OFFSET, name="lambda"), L.Conv2D(4, 3))


def unregistered():
    return model(Scale(3.0), L.Conv2D(4, 3))


def automatic():
    return model(AutomaticScale(3.0, name="block"), L.Conv2D(4, 3))


def forgetful():
    return model(ForgetfulScale(3.0), L.Conv2D(4, 3))


def functions():
    return model(L.Conv2D(4, 3, activation=lambda x: ops.abs(x) * OFFSET), L.Dense(4, squared))


def shared_layer():
    x = inputs = keras.Input((8, 8, 3))
    conv = L.Conv2D(3, 3, padding="same")
    x = L.Add()([conv(x), conv(conv(x))])
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


def nested_twice():
    x = inputs = keras.Input((8, 8, 3))
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), L.Conv2D(3, 1), L.BatchNormalization()], name="inner"
    )
    x = L.Concatenate()([inner(x), inner(ops.flip(x, 2))])
    return keras.Model(inputs, L.Dense(3)(L.GlobalMaxPooling2D()(x)))


def shared_with_nested():
    x = inputs = keras.Input((8, 8, 3))
    conv = L.Conv2D(3, 1, name="both")
    inner = keras.Sequential([keras.Input((8, 8, 3)), conv, L.ReLU()], name="inner")
    return keras.Model(inputs, L.GlobalMaxPooling2D()(L.Add()([inner(x), conv(x)])))


def same_names_in_nested():
    """Two inner models whose operations have the same names, as models that were loaded may."""

    def inner(name):
        x = inputs = keras.Input((8, 8, 3))
        y = L.Conv2D(3, 1, name="conv")(x)
        add = keras.Model(inputs, ops.add(y, x))
        add.operations[-1].name = "add"
        return keras.Model(add.input, add.output, name=name)

    x = inputs = keras.Input((8, 8, 3))
    x = inner("second")(inner("first")(x))
    return keras.Model(inputs, L.GlobalAveragePooling2D()(x))


def dotted_base():
    """A base in the model with a name such as those of `keras.applications.MobileNetV2`."""
    inputs = keras.Input((8, 8, 3))
    base = keras.Model(inputs, L.ReLU()(L.Conv2D(4, 3, name="conv")(inputs)), name="base_1.00_8")
    return model(base, L.Conv2D(4, 3))


def odd_names():
    # TensorFlow itself cannot call layers of such names.
    names = ["conv>1", "a-_1"] if keras.backend.backend() == "tensorflow" else ["conv 1", "ü-2"]
    return model(*[L.Conv2D(4, 1, name=name) for name in names])


def two_precisions():
    return model(L.Conv2D(4, 1), L.Dense(4, dtype="mixed_bfloat16"), L.Dense(4, dtype="float32"))


class Private(L.Layer):
    """One that learns a number and a tensor, and keeps them where no config looks."""

    def __init__(self, **kw):
        super().__init__(**kw)
        self._gain, self.table = 1.0, None

    def learn(self, gain, table):
        self._gain, self.table = gain, ops.convert_to_tensor(table, "float32")

    def call(self, x):
        return x * self._gain if self.table is None else x * self._gain * self.table

    def compute_output_shape(self, shape):
        return shape


def private_state():
    layer = Private(name="private")
    made = model(layer, L.Conv2D(4, 3))
    layer.learn(0.2, [1, 2, 3])
    return made


def late_attribute():
    layer = Scale(1.0)
    changed = model(layer, L.Conv2D(4, 3))
    layer.factor = 3.0
    return changed


def dict_of_outputs():
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = L.Conv2D(4, 3)(x)
    outputs = {"mean": L.GlobalAveragePooling2D()(x), "most": L.GlobalMaxPooling2D()(x)}
    return keras.Model({"image": inputs}, outputs)


def quantized():
    whole = model(L.Conv2D(4, 3), L.Dense(6))
    whole.get_layer("head").quantize("int8")
    return whole


def own_class():
    plain = model(L.Conv2D(4, 3))
    return OwnModel(plain.input, plain.output)


def binned():
    bins = L.Discretization(num_bins=4, output_mode="int")
    bins.adapt(images())
    bins.reset_state()  # as after loading: the bins alone are left
    return model(bins, lambda x: ops.cast(x, "float32"), L.Conv2D(4, 3))


def wrapped():
    x = inputs = keras.Input((8, 8, 3))
    x = L.TimeDistributed(L.Lambda(lambda x: ops.abs(x) + OFFSET))(x)
    x = L.Bidirectional(L.LSTM(2))(L.Reshape((64, 3))(x))
    return keras.Model(inputs, L.Dense(3)(x))


def called_like_keras():
    """Own classes with names of Keras's, a layer with a name of kdl's, an activation inside."""
    x = inputs = keras.Input((8, 8, 3))
    x = L.BatchNormalization()(OwnConvolution(4, 3, name="range_0")(x))
    x = ReLU()(x)
    inside = OwnCall(start := keras.Input(x.shape[1:]), L.Conv2D(4, 1)(start))
    x = Average()([x, inside(x)])
    x = L.LSTM(3, activation="hard_silu")(L.Reshape((36, 4))(x))
    return keras.Model(inputs, L.Dense(3)(x))


def adapted():
    """With adapters (LoRA), which a batch norm follows."""
    x = inputs = keras.Input((8, 8, 3))
    convolutions = [L.Conv2D(4, 3), L.Conv2D(8, 3, groups=2, activation="hard_silu")]
    for layer in convolutions:
        x = L.BatchNormalization()(layer(x))
        layer.enable_lora(2)
    dense = L.Dense(3)
    whole = keras.Model(inputs, dense(L.GlobalAveragePooling2D()(x)))
    dense.enable_lora(1)
    return whole


def of_another_process():
    """Keras has begun to number its names anew since; one layer has a name that kdl would give."""
    x = inputs = keras.Input((8, 8, 3))
    x = L.SeparableConv2D(4, 3, activation="relu", name="pair")(x)
    x = ops.multiply(ops.relu(L.Conv2D(4, 1, name="pair_depthwise")(x)), 0.5)
    x = L.Add()([x, ops.add(x, x), ops.min(x, axis=-1, keepdims=True)])
    x = L.Conv2D(8, 3, groups=2, activation="hard_silu", name="grouped")(x)
    x = L.Conv2D(4, 1, name="grouped_part0")(x)
    whole = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))
    keras.backend.clear_session()
    return whole


def compiled():
    """With a loss that Keras cannot look up."""
    whole = model(L.Conv2D(4, 3))
    whole.compile("adam", loss=lambda y, z: ops.mean(ops.abs(y - z)))
    return whole


MODELS = {
    "normalization": lambda: normalized(-1),
    "normalization of all": lambda: normalized(None),
    "normalization of each pixel": lambda: normalized((1, 2, 3)),
    "inverted normalization": lambda: normalized(-1, invert=True),
    "frozen norm": frozen_norm,
    "frozen inside": frozen_inside,
    "lambda": lambdas,
    "unregistered": unregistered,
    "automatic config": automatic,
    "forgetful config": forgetful,
    "functions": functions,
    "shared": shared_layer,
    "nested twice": nested_twice,
    "shared with nested": shared_with_nested,
    "same names": same_names_in_nested,
    "dotted base": dotted_base,
    "odd names": odd_names,
    "computed file": lambda: model(ResizedScale(), L.Conv2D(4, 3)),
    "two precisions": two_precisions,
    "late attribute": late_attribute,
    "private state": private_state,
    "dict of outputs": dict_of_outputs,
    "quantized": quantized,
    "own class": own_class,
    "binned": binned,
    "wrapped": wrapped,
    "called like Keras": called_like_keras,
    "adapters": adapted,
    "of another process": of_another_process,
    "compiled": compiled,
}


def make(name):
    """The model of this name, with the same weights each time, none at its initial value."""
    keras.utils.set_random_seed(0)
    made = MODELS[name]()
    rng = np.random.default_rng(1)
    adapting = (layer for layer in all_layers(made) if hasattr(layer, "adapt"))
    adapted = {id(weight) for layer in adapting for weight in layer.weights}
    for weight in made.weights:
        moves = weight.dtype == "float32" and "scale" not in weight.name
        if moves and id(weight) not in adapted:
            value = ops.convert_to_numpy(weight)
            weight.assign(value + rng.uniform(0.05, 0.2, value.shape))
    return made
