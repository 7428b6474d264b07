import keras
import pytest

from kdl.deploy.signature import check_exportable, output_names


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


def test_several_outputs():
    inputs = keras.Input((4,))
    a, b = keras.layers.Dense(2, name="a")(inputs), keras.layers.Dense(3, name="b")(inputs)
    assert output_names(keras.Model(inputs, [b, a])) == ["b", "a"]
    assert output_names(keras.Model(inputs, {"y": b, "x": a})) == ["x", "y"]
