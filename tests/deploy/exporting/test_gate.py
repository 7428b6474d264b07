"""The gate through which every file goes, on arrays: what is wrong in one output fails."""

import keras
import numpy as np
import pytest

from kdl.deploy import Tolerances
from kdl.deploy.exporting.tolerances import TOLERANCES
from kdl.deploy.exporting.verify import compare_outputs

FORMS = ["float32", "float16", "dynamic", "int8", "int16"]


@pytest.fixture(scope="module")
def network():
    """Rows of scores, boxes, a map and features, out of inputs that are normalized inside."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((12, 12, 3))
    x = keras.layers.Rescaling(1 / 32)(x)
    x = keras.layers.Conv2D(8, 3)(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.Activation("tanh")(x)
    grid = keras.layers.Conv2D(4, 3, strides=3, name="grid")(x)
    flat = keras.layers.Flatten()(x)
    outputs = {
        "scores": keras.layers.Dense(4, activation="softmax")(flat),
        "boxes": keras.layers.Reshape((-1, 4))(grid),
        "map": keras.layers.Conv2D(2, 1, activation="sigmoid")(x),
        "features": keras.layers.Dense(1)(flat),
    }
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([rng.normal(0, 0.3, w.shape) for w in layer.get_weights()])
    statistics = model.get_layer("normalization")
    statistics.set_weights([np.ones(8), np.zeros(8), np.full(8, 0.7), np.full(8, 9.0)])
    return model


@pytest.fixture(scope="module")
def inputs():
    return np.random.default_rng(1).normal(0, 60, (32, 12, 12, 3)).astype("float32")


@pytest.fixture(scope="module")
def expected(network, inputs):
    return outputs_of(network, inputs)


def outputs_of(model, inputs):
    return {name: np.asarray(y) for name, y in model.predict(inputs, verbose=0).items()}


def compare(form, expected, actual):
    names = list(expected)
    ordered = ([side[name] for name in names] for side in (expected, actual))
    return compare_outputs("m.tflite", form, *ordered, None, TOLERANCES[form], names)


def rounded(form, expected):
    """What a good file of a form gives: a little noise, below its gate by some decibels."""
    rng = np.random.default_rng(2)
    share = 10 ** (-(TOLERANCES[form].sqnr + 12) / 20)
    return {
        name: (y + share * y.std() * rng.standard_normal(y.shape)).astype("float32")
        for name, y in expected.items()
    }


def inverted(y):
    return y.min() + y.max() - y


def with_one(value):
    def change(y):
        y = y.copy()
        y.flat[7] = value
        return y

    return change


WRONG = {
    "inverted": inverted,
    "zeros": np.zeros_like,
    "the mean for every input": lambda y: np.broadcast_to(y.mean(0), y.shape),
    "the first for every input": lambda y: np.broadcast_to(y[:1], y.shape),
    "samples shifted by one": lambda y: np.roll(y, 1, axis=0),
    "negative": np.negative,
    "all NaN": lambda y: np.full_like(y, np.nan),
    "one NaN": with_one(np.nan),
    "one infinite": with_one(np.inf),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_outputs_of_a_good_file_pass_and_have_their_kinds(form, expected):
    result = compare(form, expected, rounded(form, expected))
    assert result.passed, str(result)
    kinds = {output.name: output.kind for output in result.outputs}
    assert kinds == {name: name for name in ("scores", "boxes", "map", "features")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["scores", "boxes", "map", "features"])
@pytest.mark.parametrize("wrong", WRONG)
def test_one_wrong_output_among_good_ones_fails(form, name, wrong, expected):
    actual = rounded(form, expected)
    actual[name] = WRONG[wrong](actual[name])
    result = compare(form, expected, actual)
    assert not result.passed
    assert {line.partition(":")[0] for line in result.failures} == {name}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_fails_on_both_sides_alike(form, value, expected):
    broken = dict(expected, boxes=with_one(value)(expected["boxes"]))
    for one, other in ((broken, expected), (expected, broken), (broken, broken)):
        result = compare(form, one, other)
        assert not result.passed
        assert "not finite" in str(result)


@pytest.mark.parametrize("form", FORMS)
def test_swapped_outputs_of_one_shape_fail(form, expected):
    swapped = {"a": expected["boxes"], "b": np.tanh(expected["boxes"][:, ::-1])}
    result = compare(form, swapped, {"a": swapped["b"], "b": swapped["a"]})
    assert [output.passed for output in result.outputs] == [False, False]


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_output_and_another_shape_are_another_model(form, expected):
    pair = [expected["boxes"], expected["scores"]]
    for wrong in (pair[:1], [], [*pair, pair[0]], [pair[0], pair[1][:, :3]]):
        with pytest.raises(ValueError, match="exported from another model"):
            compare_outputs("m.tflite", form, pair, wrong, None, TOLERANCES[form])


@pytest.mark.parametrize("form", FORMS)
def test_lost_statistics_and_a_wrong_input_scale_fail(form, network, inputs, expected):
    statistics = network.get_layer("normalization")
    before = statistics.get_weights()
    statistics.set_weights([*before[:2], np.zeros(8), np.ones(8)])
    lost = outputs_of(network, inputs)
    statistics.set_weights(before)
    for wrong in (lost, outputs_of(network, inputs / 255), outputs_of(network, inputs + 30)):
        result = compare(form, expected, wrong)
        assert not result.passed
        assert {"boxes", "features"} <= {line.partition(":")[0] for line in result.failures}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(16, 50, 4), (16, 50, 5), (16, 5, 5, 6), (16, 5, 5, 3)])
@pytest.mark.parametrize("wrong", ["inverted", "zeros", "the mean for every input", "negative"])
def test_a_small_channel_cannot_hide_behind_large_ones(form, shape, wrong):
    rng = np.random.default_rng(3)
    y = 640 * rng.random(shape)
    y[..., -1] = rng.random(shape[:-1])
    z = y.copy()
    z[..., -1] = WRONG[wrong](y[..., -1])
    result = compare_outputs("m", form, [y], [z], None, TOLERANCES[form])
    assert not result.passed
    assert "channel" in str(result)


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-12, 1, 1e30])
def test_a_constant_where_the_model_varies_fails_at_every_scale(scale):
    y = scale * np.random.default_rng(4).random((16, 3))
    for z in (np.zeros_like(y), np.full_like(y, y.mean())):
        result = compare_outputs("m", "int8", [y], [z], None, TOLERANCES["int8"])
        assert "the same for every input" in str(result.failures)
        open_tolerances = compare_outputs("m", "int8", [y], [z], None, Tolerances(sqnr=-np.inf))
        assert not open_tolerances.passed
