import keras
import numpy as np
import pytest

from kdl.applications import MobileNetV2
from kdl.compression import fold_batch_norm
from kdl.graph.fold_batch_norm import affine_of
from kdl.testing import _checks

NORM = keras.layers.BatchNormalization


def norms(model):
    return [x for x in model.layers if isinstance(x, NORM)]


def check_equal(model, folded):
    shape = (2, *model.input_shape[1:])
    outputs = [_checks.to_numpy(m(_checks.random_array(shape))) for m in (folded, model)]
    _checks.check_close(*outputs, 1e-4, "outputs")


def test_a_network_keeps_its_outputs_without_batch_norm():
    model = MobileNetV2(0.35, input_shape=(32, 32, 3), classes=5)
    _checks.move_weights(model)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    check_equal(model, folded)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "layer",
    [
        lambda: keras.layers.Conv2D(6, 3, groups=2),
        lambda: keras.layers.Conv2D(6, 3, use_bias=False),
        lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        lambda: keras.layers.Conv2DTranspose(5, 2, use_bias=False),
        lambda: keras.layers.SeparableConv2D(5, 3, use_bias=False),
        lambda: keras.layers.Dense(3),
    ],
)
def test_every_kind_of_layer(layer):
    inputs = keras.Input((5, 6, 4))
    model = keras.Model(inputs, NORM(scale=False)(layer()(inputs)))
    _checks.move_weights(model)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    check_equal(model, folded)


def test_a_norm_with_a_mask():
    inputs = keras.Input((6, 4))
    mask = keras.ops.any(inputs > 0, axis=-1)
    model = keras.Model(inputs, NORM()(keras.layers.Dense(3)(inputs), mask=mask))
    _checks.move_weights(model)
    folded = fold_batch_norm(model)
    assert not norms(folded)
    check_equal(model, folded)


@pytest.mark.every_backend
def test_worked_numbers():
    """γ = 2, β = 0.5, μ = 0.3, v = 0.25, ε = 0.01, which is not Keras's default."""
    norm = NORM(epsilon=0.01)
    norm.build((None, 1))
    norm.set_weights([np.array([value]) for value in (2.0, 0.5, 0.3, 0.25)])
    np.testing.assert_allclose(np.ravel(affine_of(norm)), [3.922323, -0.676697], rtol=1e-6)


def after_an_activation(x):
    return NORM()(keras.layers.Conv2D(4, 1, activation="relu")(x))


def read_elsewhere_too(x):
    x = keras.layers.Conv2D(4, 1)(x)
    return keras.layers.Add()([x, NORM()(x)])


def called_twice(x):
    conv = keras.layers.Conv2D(4, 1)
    return keras.layers.Add()([NORM()(conv(x)), conv(keras.ops.flip(x, 1))])


def of_another_axis(x):
    return NORM(axis=1)(keras.layers.Conv2D(4, 1)(x))


@pytest.mark.parametrize(
    "graph", [after_an_activation, read_elsewhere_too, called_twice, of_another_axis]
)
def test_norm_that_is_not_foldable_stays(graph):
    inputs = keras.Input((5, 6, 4))
    model = keras.Model(inputs, graph(inputs))
    _checks.move_weights(model)
    folded = fold_batch_norm(model)
    assert len(norms(folded)) == 1
    check_equal(model, folded)


def test_the_model_itself_is_left_alone():
    inputs = keras.Input((5, 6, 4))
    model = keras.Model(inputs, NORM()(keras.layers.Conv2D(4, 1)(inputs)))
    before = model.get_weights()
    folded = fold_batch_norm(model)
    folded.set_weights([w + 1 for w in folded.get_weights()])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    keras.Model(model.input, model.layers[1].output)  # its layers still have one output each


def test_a_model_without_a_graph():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="graph is unknown"):
        fold_batch_norm(Own())
