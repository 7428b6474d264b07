import keras
import numpy as np
import pytest

from kdl.applications import ResNeXt, ShuffleNetV2
from kdl.compression import flatten
from kdl.layers import DepthwiseConv2D, ShuffleUnitV2
from kdl.testing import _checks


def small(**arguments):
    return ShuffleNetV2(0.5, input_shape=(32, 32, 3), include_top=False, **arguments)


def resnext(form):
    return ResNeXt((1, 1, 1, 1), 2, 8, form, input_shape=(32, 32, 3), classes=3)


def nested():
    """A kdl model inside a Sequential inside a functional model that uses it twice."""
    inner = keras.Sequential([keras.Input((32, 32, 3)), small(pooling="avg")], name="inner")
    inputs = keras.Input((32, 32, 3))
    twice = keras.layers.Concatenate()([inner(inputs), inner(keras.ops.flip(inputs, 2))])
    return keras.Model(inputs, keras.layers.Dense(2)(twice))


def sequential():
    unit = ShuffleUnitV2(8, strides=2, data_format="channels_last")
    return keras.Sequential([keras.Input((6, 6, 4)), unit, keras.layers.Flatten()])


def several_inputs_and_outputs():
    inputs = {name: keras.Input((6, 6, 4), name=name) for name in ("a", "b")}
    x = keras.layers.Add()([inputs["a"], inputs["b"]])
    x = DepthwiseConv2D(3, lowering="shift", data_format="channels_last")(x)
    return keras.Model(inputs, {"sum": x, "mean": keras.ops.mean(x)})


def layers_named_as_operations():
    inputs = keras.Input((6, 6, 4))
    x = keras.layers.Add()([inputs, keras.ops.add(inputs, 3.0)])
    x = keras.layers.Multiply()([x, keras.ops.multiply(x, 0.5)])
    return keras.Model(inputs, x)


MODELS = {
    "shufflenet_v2": small,
    "resnext_a": lambda: resnext("a"),
    "resnext_c": lambda: resnext("c"),
    "nested": nested,
    "sequential": sequential,
    "several": several_inputs_and_outputs,
    "names": layers_named_as_operations,
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_equal_and_layers_are_keras_own(name):
    model = MODELS[name]()
    _checks.move_weights(model)
    flat = flatten(model)
    assert {type(layer).__module__.split(".")[0] for layer in flat.layers} == {"keras"}
    assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
    assert flat.count_params() == model.count_params()
    inputs = keras.tree.map_structure(lambda x: _checks.random_array((2, *x.shape[1:])), flat.input)
    _checks.check_close(*(_checks.to_numpy(f(inputs)) for f in (flat, model)), 1e-5, "outputs")


def test_the_copy_is_independent_and_named_by_path():
    model = resnext("c")
    flat = flatten(model)
    layer = flat.get_layer("stage1_block0_conv1")
    np.testing.assert_array_equal(*(m.get_weights()[0] for m in (model, flat)))
    before = model.get_layer("stage1_block0").get_weights()
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    for old, new in zip(before, model.get_layer("stage1_block0").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_layers_of_the_copy_can_be_looked_into():
    """`layer.output` is a tensor of the flat graph."""
    flat = flatten(resnext("c"))
    layer = flat.get_layer("stage2_block0_bn3")
    inside = keras.Model(flat.input, layer.output)
    assert tuple(inside(_checks.random_array((2, 32, 32, 3))).shape) == (2, 4, 4, 512)


def test_a_user_s_own_layer_is_kept():
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = keras.Input((3,))
    x = keras.layers.Lambda(lambda x: x + 1)(Doubled()(inputs))
    flat = flatten(keras.Model(inputs, x))
    assert float(keras.ops.convert_to_numpy(flat(np.ones((1, 3), "float32")))[0, 0]) == 3.0


def test_a_flat_model_trains_saves_and_loads(tmp_path):
    flat = flatten(resnext("c"))
    _checks.check_fit(flat, _checks.random_array((2, 32, 32, 3)))
    _checks.check_reload(flat, _checks.random_array((2, 32, 32, 3)))


def test_frozen_layers_stay_frozen():
    model = sequential()
    model.layers[0].trainable = False
    assert not flatten(model).trainable_weights


def test_flatten_of_subclassed_model_raises():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="Own whose graph is unknown: only functional"):
        flatten(Own())


def test_flatten_with_dynamic_dimension_raises_where_a_layer_needs_it():
    model = ShuffleNetV2(0.5, input_shape=(None, None, 3), include_top=False)
    with pytest.raises(ValueError, match=r"must be known to inline .* Give the model a full"):
        flatten(model)


def test_a_layer_and_an_operation_of_one_name():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Reshape((16, 3))(inputs)
    model = keras.Model(inputs, keras.ops.reshape(x, (-1, 6, 8)))
    assert flatten(model).output_shape == (None, 6, 8)
