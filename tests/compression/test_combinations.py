"""Every compression method after every other: it works or ends in the one error of the table."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from kdl import layers
from kdl.compression import (
    ConstantSparsity,
    calibrate,
    distill,
    flatten,
    fold_batch_norm,
    measure_sparsity,
    prune,
    quantize_aware,
    round_biases,
    strip,
    tfmot,
)
from kdl.deploy import rewrite_for
from kdl.graph import copy_model
from kdl.graph.macs import macs
from kdl.graph.wrapper import ModelWrapper, is_wrapper, network_of
from kdl.layers import FakeQuantize, convert_sync_batch_norm

K = keras.layers

# Keras tells of each layer that it does not quantize.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a `quantize` method")

X = np.random.default_rng(0).standard_normal((8, 4, 4, 4)).astype("float32")
Y = np.random.default_rng(1).standard_normal((8, 3)).astype("float32")


def make_network(width=4, name="network"):
    """A network whose kernels are half zeros, and whose batch norm moves numbers."""
    x = inputs = keras.Input((4, 4, 4))
    x = layers.GroupedConv2D(width, 3, groups=2, padding="same", name="conv")(x)
    x = K.ReLU()(K.BatchNormalization(name="norm")(x))
    outputs = K.Dense(3, name="head")(K.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs, name=name)
    norm = model.get_layer("norm")
    norm.moving_mean.assign(np.linspace(-0.2, 0.3, width))
    norm.moving_variance.assign(np.linspace(0.5, 1.5, width))
    return strip(prune(model, ConstantSparsity(0.5)))


def own(model):
    """A copy, for what changes a model in place; tfmot has none."""
    return copy_model(model) if isinstance(model, keras.Model) else model


def with_rounded_biases(model):
    round_biases(model)
    return model


def quantize_by_keras(model):
    copy = copy_model(model)
    copy.quantize("int8")
    return copy


def add_adapters(model):
    """Adapters (LoRA) that do something, taken off the kernel again: the sum stays."""
    copy = copy_model(model)
    head = network_of(copy).get_layer("head")
    before = ops.convert_to_numpy(head.kernel)
    head.enable_lora(2)
    head.lora_kernel_b.assign(np.full(head.lora_kernel_b.shape, 0.3))
    if head.quantization_mode is None:
        change = ops.convert_to_numpy(head.kernel) - before
        head._kernel.assign(before - change)
    else:
        head.lora_kernel_b.assign(np.zeros(head.lora_kernel_b.shape))
    return copy


METHODS = {
    "prune": lambda model: prune(model, None),
    "distill": lambda model: distill(model, make_network(6, "teacher")),
    "teach": lambda model: distill(make_network(6, "student"), own(model)),
    "qat": lambda model: quantize_aware(model, X, verbose=0)[0],
    "calibrate": lambda model: calibrate(model, X, verbose=0)[0],
    "round": with_rounded_biases,
    "fold": fold_batch_norm,
    "flatten": flatten,
    "sync": lambda model: convert_sync_batch_norm(own(model)),
    "gpu": lambda model: rewrite_for(model, "gpu")[0],
    "copy": copy_model,
    "strip": strip,
    "int8": quantize_by_keras,
    "lora": add_adapters,
    "tfmot": lambda model: tfmot.cluster(model),
}

# Row: the first method. Column: the second, applied to the result of the first. The outputs are
#   =  those of the first, within 1e-5 of their spread
#   ~  the same in 8 bits, within 5 % of their spread
#   t  those of another student, whose teacher the first is
# Capital letters are `ERRORS`.
TABLE = """
          prune distill teach qat calibrate round fold flatten sync gpu copy strip int8 lora tfmot
prune     W     =       t     W   W         W     W    W       =    W   =    =     K    M    W
distill   W     W       t     W   W         W     W    W       =    W   =    =     ~    =    W
qat       =     =       t     Q   Q         =     =    =       =    =   =    N     =    =    T
calibrate =     =       t     Q   Q         =     =    =       =    =   =    N     =    =    T
fold      =     =       t     ~   ~         B     =    =       =    =   =    N     ~    =    =
flatten   =     =       t     ~   ~         B     =    =       =    =   =    N     ~    =    =
sync      =     =       t     ~   ~         B     =    =       =    =   =    N     ~    =    =
gpu       =     =       t     ~   ~         B     =    =       =    =   =    N     ~    =    =
strip     =     =       t     ~   ~         B     =    =       =    =   =    N     ~    =    =
int8      D     =       t     ~   ~         B     =    =       =    =   =    N     I    =    T
lora      L     =       t     ~   ~         B     =    =       =    =   =    N     ~    A    L
tfmot     W     W       W     W   W         W     W    W       S    W   W    =     W    W    W
"""

ERRORS = {
    "A": "lora is already enabled",
    "B": "Expected a model that calibrate or quantize_aware gave",
    "D": "were quantized to int8 by Keras's quantize.* Prune the model before",
    "I": "already quantized",
    "K": r"Keras's quantize replaces the kernels that .* prunes: quantize kdl.compression.strip",
    "L": r"head has adapters \(LoRA\): its kernel is a sum",
    "M": "the masks do not fit: strip the model before",
    "N": "strip takes a model that prune, distill or kdl.compression.tfmot made",
    "Q": "is quantized already",
    "S": "Expected a built Keras model; received a TFMOTModel",
    "T": "cannot go to TensorFlow Model Optimization",
    "W": r"is a \w+ around a network.*: pass kdl.compression.strip\(model\)",
}


def read_table():
    header, *rows = (line.split() for line in TABLE.strip().splitlines())
    return {
        (first, second): mark
        for first, *marks in rows
        for second, mark in zip(header, marks, strict=True)
    }


@functools.cache
def after_first(method):
    network = make_network()
    return METHODS[method](METHODS["prune"](network) if method == "strip" else network)


def outputs_of(model):
    return ops.convert_to_numpy(network_of(model)(X, training=False))


def assert_outputs_within(model, expected, tolerance):
    difference = np.abs(outputs_of(model) - expected).max()
    assert difference <= tolerance * (expected.max() - expected.min())


def train_a_step(model):
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(X, Y, batch_size=8, verbose=0)
    assert np.isfinite(outputs_of(model)).all()


@pytest.mark.parametrize(("first", "second"), [*read_table()])
def test_pair_works_or_raises_its_error(first, second):
    mark = read_table()[first, second]
    model = after_first(first)
    if mark in ERRORS:
        with pytest.raises(ValueError, match=ERRORS[mark]):
            train_a_step(METHODS[second](model))
        return
    expected = outputs_of(model)
    result = METHODS[second](model)
    if mark != "t":
        assert_outputs_within(result, expected, {"=": 1e-5, "~": 0.05}[mark])
    if is_wrapper(result) and isinstance(result, keras.Model):
        trained = copy_model(result)
        train_a_step(trained)
        if "prune" in (first, second) and mark != "t":
            assert measure_sparsity(trained) == measure_sparsity(result)


def test_table_holds_every_method():
    firsts, seconds = ({pair[i] for pair in read_table()} for i in (0, 1))
    assert seconds == {*METHODS}
    # What these give is a network, or a Distillation, as another row has it.
    assert firsts == {*METHODS} - {"teach", "round", "copy"}


@pytest.mark.every_backend
def test_pruned_quantized_student_keeps_its_zeros_until_it_is_stripped():
    """Three methods in one fit: prune keeps zeros, quantization follows, the teacher teaches."""
    quantized, _ = quantize_aware(make_network(), X, verbose=0)
    zeros = measure_sparsity(quantized).zeros
    assert zeros > 0
    model = distill(prune(quantized, None), make_network(6, "teacher"))
    before = ops.convert_to_numpy(network_of(model).get_layer("head").kernel)
    train_a_step(model)
    network = strip(model)
    assert network.get_layer("head") is not network_of(model).get_layer("head")
    after = ops.convert_to_numpy(network.get_layer("head").kernel)
    assert not np.array_equal(before, after)
    assert measure_sparsity(network).zeros == measure_sparsity(model).zeros == zeros
    assert any(isinstance(layer, FakeQuantize) for layer in network.layers)
    round_biases(network)
    with pytest.raises(ValueError, match=ERRORS["N"]):
        strip(network)


@pytest.mark.parametrize("teacher", ["prune", "distill"])
def test_wrapped_teacher_is_asked_and_left_as_it_is(teacher):
    wrapped = METHODS[teacher](make_network(4, "wrapped"))
    expected = outputs_of(wrapped)
    train_a_step(distill(make_network(6, "student"), wrapped))
    np.testing.assert_array_equal(outputs_of(wrapped), expected)


def test_own_wrapper_answers_the_protocol():
    class Frozen:
        """A method of one's own around a network."""

        def __init__(self, model):
            self.model = model

        def network(self):
            return self.model

        def stripped(self):
            return copy_model(self.model, name="thawed")

    wrapped = Frozen(make_network())
    assert isinstance(wrapped, ModelWrapper)
    assert not is_wrapper(Frozen)
    assert strip(wrapped).name == "thawed"
    assert measure_sparsity(wrapped) == measure_sparsity(wrapped.model)
    for method in (macs, fold_batch_norm, lambda model: prune(model, None)):
        with pytest.raises(ValueError, match="is a Frozen around a network"):
            method(wrapped)
    with pytest.raises(ValueError, match=r"teacher must be a keras\.Model\. .* is a Frozen"):
        distill(make_network(), wrapped)


def test_pruned_model_inside_of_a_network_is_an_error_that_names_it():
    inputs = keras.Input((4, 4, 4))
    pruned = prune(make_network(), None)
    with pytest.raises(ValueError, match="network_pruned is a PrunedModel around a network"):
        fold_batch_norm(keras.Model(inputs, pruned(inputs)))
