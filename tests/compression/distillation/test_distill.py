import json
import types

import keras
import numpy as np
import pytest
from keras import ops

import kdl
from kdl import layers
from kdl.compression import (
    ConstantSparsity,
    Distillation,
    PolynomialSparsity,
    distill,
    measure_sparsity,
    prune,
    quantize_aware,
    strip,
)
from kdl.testing import _checks

K = keras.layers


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    keras.utils.set_random_seed(0)


def numpy(x):
    return np.array(ops.convert_to_numpy(x), "float64")


def cross_entropy(from_logits=True):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)


def loss_of(model, x, y, from_logits=True, weights=None, training=True):
    """The loss of one batch, step by step as `fit` computes it."""
    model.compile("sgd", cross_entropy(from_logits))
    x, y = (ops.convert_to_tensor(part) for part in (x, y))
    outputs = model(x, training=training)
    return float(numpy(model.compute_loss(x, y, outputs, weights, training=training)))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence(z_t, z_s, temperature):
    """`T² · KL`, the mean over the batch."""
    p_t, p_s = softmax(z_t / temperature), softmax(z_s / temperature)
    return temperature**2 * np.mean(np.sum(p_t * np.log(p_t / p_s), -1))


def hard_loss(z, y):
    return -np.log(softmax(z)[np.arange(len(y)), y])


def constant(logits, ending=None, name="constant"):
    """A model whose logits are these, whatever comes in."""
    fused = ending if ending == "softmax" else None
    layer = K.Dense(len(logits), kernel_initializer="zeros", activation=fused)
    parts = {"activation": [K.Activation("softmax")], "layer": [K.Softmax()]}.get(ending, [])
    model = keras.Sequential([keras.Input((1,)), layer, *parts], name=name)
    layer.bias.assign(np.array(logits, "float32"))
    return model


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("endings", "from_logits"),
    [
        ((None, None), None),
        ((None, None), True),
        (("softmax", "softmax"), None),
        (("softmax", "softmax"), False),
        (("layer", "activation"), None),
        ((None, "layer"), None),
    ],
)
def test_worked_numbers(endings, from_logits):
    """z_t = [5, 2, 1], z_s = [3, 3, 0], y = 0, T = 4, α = 0.1."""
    student, teacher = map(constant, ([3, 3, 0], [5, 2, 1]), endings)
    x, y = np.ones((2, 1), "float32"), np.zeros(2, "int32")
    logits = endings[0] is None
    for alpha, expected in ((0.1, 0.831872), (1.0, 0.717736), (0.0, 0.844554)):
        model = distill(student, teacher, 4.0, alpha, from_logits=from_logits)
        assert loss_of(model, x, y, logits) == pytest.approx(expected, abs=2e-6)
    hard = loss_of(model, x, y, logits, training=False)
    assert hard == pytest.approx(0.717736, abs=2e-6)


def network(width, name, rate=0.0, **kwargs):
    x = inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(width, 3, strides=2, padding="same", name="features", **kwargs)(x)
    x = K.Dropout(rate)(K.ReLU()(K.BatchNormalization(name="norm")(x)))
    model = keras.Model(inputs, K.Dense(4, name="head")(K.GlobalAveragePooling2D()(x)), name=name)
    _checks.move_weights(model)
    return model


def dense(width, name="dense"):
    hidden = K.Dense(width, "relu", name="hidden")
    return keras.Sequential([keras.Input((48,)), hidden, K.Dense(4, name="head")], name=name)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((24, 4, 4, 3)).astype("float32"), rng.integers(0, 4, 24)


@pytest.fixture(scope="module")
def flat_data(data):
    return data[0].reshape(24, 48), data[1]


@pytest.mark.parametrize("width", [4, 6])
def test_the_formula_in_numpy(width, data):
    """Regularizers count in full, sample weights for CE, and what the teacher adds not at all."""
    x, y = data
    student = network(width, "student", kernel_regularizer=keras.regularizers.L2(0.01))
    student.get_layer("norm").trainable = False  # so that it computes as in inference
    teacher = network(6, "teacher", rate=0.5, activity_regularizer=keras.regularizers.L2(1.0))
    model = distill(student, teacher, 3.0, 0.3, {"features": "features"}, 0.7)
    weights = np.linspace(0, 2, len(x)).astype("float32")
    found = loss_of(model, x, y, weights=weights)

    z_s, z_t = (numpy(part(x)) for part in (student, teacher))
    f_s, f_t = (part.get_layer("features")(x) for part in (student, teacher))
    [projection] = model.projections
    assert (projection is None) == (width == 6)
    feature = np.mean((numpy(projection(f_s) if projection else f_s) - numpy(f_t)) ** 2)
    ridge = 0.01 * np.sum(numpy(student.get_layer("features").kernel) ** 2)
    hard = np.mean(hard_loss(z_s, y) * weights)
    expected = 0.3 * hard + 0.7 * (divergence(z_t, z_s, 3) + 0.7 * feature) + ridge
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.every_backend
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="adds up losses of replicas")
def test_each_of_two_replicas_gives_half(flat_data, monkeypatch):
    import tensorflow as tf

    ridge = keras.regularizers.L2(0.1)
    student = keras.Sequential([keras.Input((48,)), K.Dense(4, kernel_regularizer=ridge, name="z")])
    model = distill(student, dense(6), 4.0, 0.4, {"z": "head"})
    whole = loss_of(model, *flat_data)
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: strategy)
    assert loss_of(model, *flat_data) == pytest.approx(whole / 2, rel=1e-5)


@pytest.mark.every_backend
def test_fit_evaluate_and_predict(data):
    x, y = data
    student, teacher = network(4, "student", rate=0.3), network(6, "teacher", rate=0.3)
    model = distill(student, teacher, features={"features": "features"})
    model.compile("adam", cross_entropy(), metrics=["accuracy"])
    norm = student.get_layer("norm")
    before, moving, kernel = teacher.get_weights(), numpy(norm.moving_mean), numpy(norm.gamma)
    history = model.fit(x, y, batch_size=24, sample_weight=np.ones(24), verbose=0).history
    assert {*history} == {"loss", "accuracy"}
    for old, new in zip(before, teacher.get_weights(), strict=True):  # batch norm included
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(numpy(norm.moving_mean), moving)
    assert not np.array_equal(numpy(norm.gamma), kernel)
    trained = {id(v) for v in model.trainable_variables}
    assert trained >= {id(v) for v in student.trainable_variables}
    assert len(trained) == len(student.trainable_variables) + 2  # those of the projection
    assert model.student is student

    after = student.get_weights()
    results = model.evaluate(x, y, verbose=0, return_dict=True)
    for old, new in zip(after, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(outputs, numpy(student(x)), atol=1e-5)
    assert results["loss"] == pytest.approx(np.mean(hard_loss(outputs, y)), rel=1e-5)
    assert results["accuracy"] == pytest.approx(np.mean(outputs.argmax(-1) == y), abs=1e-6)


@pytest.mark.every_backend
def test_batch_norm_follows_each_batch_once(data):
    x, y = data
    student = network(4, "student")
    norm = student.get_layer("norm")
    old = numpy(norm.moving_mean)
    mean = numpy(student.get_layer("features")(x)).mean((0, 1, 2))
    loss_of(distill(student, network(6, "teacher"), features={"features": "features"}), x, y)
    np.testing.assert_allclose(numpy(norm.moving_mean), 0.99 * old + 0.01 * mean, atol=1e-6)


def test_a_student_without_labels_comes_to_agree(flat_data):
    x, _ = flat_data
    student, teacher = dense(6, "student"), dense(8, "teacher")
    model = distill(student, teacher, alpha=0.0)
    model.compile(keras.optimizers.Adam(0.02))
    first = divergence(numpy(teacher(x)), numpy(student(x)), 4)
    losses = model.fit(x, epochs=20, batch_size=24, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(first, rel=1e-4)
    assert losses[-1] < 0.3 * first


def test_saved_and_trained_on(flat_data, tmp_path):
    x, y = flat_data
    model = distill(dense(4), dense(6), 3.0, 0.2, {"hidden": "hidden"}, 0.5)
    model.compile("adam", cross_entropy())
    model.fit(x, y, batch_size=24, verbose=0)
    model.save(tmp_path / "distillation.keras")
    loaded = keras.models.load_model(tmp_path / "distillation.keras")
    assert type(loaded) is Distillation
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    assert not loaded.teacher.trainable
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    losses = loaded.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(loss_of(model, x, y), rel=1e-4)
    assert losses[-1] < losses[0]

    loaded.student.save(tmp_path / "student.keras")
    student = keras.models.load_model(tmp_path / "student.keras")
    assert type(student) is keras.Sequential
    assert student.count_params() == dense(4).count_params()
    np.testing.assert_array_equal(numpy(student(x)), numpy(loaded.student(x)))


def test_pruned_student_reaches_its_sparsity(flat_data):
    x, y = flat_data
    schedule = PolynomialSparsity(0.5, end_step=6, frequency=2)
    student = prune(dense(4), schedule)
    model = distill(student, dense(6), features={"hidden": "hidden"})
    model.compile("adam", cross_entropy())
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert int(student.step) == 12
    assert measure_sparsity(strip(student)).sparsity == 0.5


@pytest.mark.every_backend
def test_a_pruned_student_keeps_its_zeros_under_averaged_weights(flat_data):
    x, y = flat_data
    student = prune(dense(4), ConstantSparsity(0.5))
    model = distill(student, dense(6))
    model.compile(keras.optimizers.AdamW(0.05, use_ema=True), cross_entropy())
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    assert measure_sparsity(model.student).sparsity == 0.5


def test_quantized_student_learns_from_logits(flat_data, tmp_path):
    """A softmax in 8 bits has zeros, whose logarithm would be no logit: its input is taken."""
    x, plain = 9 * flat_data[0], dense(4)
    plain.add(K.Softmax())
    student, report = quantize_aware(plain, x, verbose=0)
    assert report.complete
    assert student.predict(x, verbose=0).min() == 0
    teacher = dense(6)
    [softmax_call] = [op for op in student.operations if type(op).__name__ == "Softmax"]
    z_s = keras.Model(student.input, softmax_call.input).predict(x, verbose=0)
    expected = divergence(numpy(teacher(x)), z_s.astype("float64"), 4)

    model = distill(student, teacher, alpha=0.0)
    model.compile(keras.optimizers.Adam(0.01))
    losses = model.fit(x, batch_size=24, epochs=10, verbose=0).history["loss"]
    # Not exactly: in training the ranges follow the batch.
    assert losses[0] == pytest.approx(expected, rel=0.02)
    assert losses[-1] < 0.9 * losses[0]
    student.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(student(x)))


@pytest.mark.every_backend
def test_half_precision():
    """Probabilities that vanish in float16 give finite losses."""
    half = keras.DTypePolicy("mixed_float16")
    student, teacher = (
        keras.Sequential([keras.Input((1,)), K.Dense(3, "softmax", dtype=half, name=name)])
        for name in ("student", "teacher")
    )
    student.layers[0].bias.assign([0.0, 5.0, -30.0])
    teacher.layers[0].bias.assign([3.0, -30.0, 0.0])
    x, y = np.zeros((2, 1), "float32"), np.zeros(2, "int32")
    found = loss_of(distill(student, teacher, 4.0, 0.0), x, y, False)
    least = np.log(6e-8)
    z_s = np.log(softmax(np.array([[0.0, 5.0, -30.0]])))
    z_t = np.log(softmax(np.array([[3.0, -30.0, 0.0]])))
    expected = divergence(np.maximum(z_t, least), np.maximum(z_s, least), 4)
    assert found == pytest.approx(expected, rel=2e-3)


def two_outputs():
    inputs = keras.Input((4, 4, 3))
    x = K.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, [K.Dense(4)(x), K.Dense(4)(x)], name="two_outputs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "temperature must be above 0; received 0"),
        ({"alpha": 1.5}, "alpha must be from 0 to 1; received 1.5"),
        ({"feature_weight": -1}, "feature_weight must be at least 0; received -1"),
        ({"features": ["norm"]}, r"features must be a dict .*received \['norm'\]"),
        ({"features": {"nose": "norm"}}, "student has no layer 'nose'. It has: features, "),
        ({"features": {"norm": "nose"}}, "teacher has no layer 'nose'"),
        ({"features": {"head": "norm"}}, r"differ in their channels only; 'head' of the student"),
        ({"teacher": constant([1, 2])}, r"same shape; received \(None, 4\) and \(None, 2\)"),
        ({"teacher": two_outputs()}, "two_outputs must have one output, a tensor"),
        ({"student": two_outputs()}, "two_outputs must have one output, a tensor"),
    ],
)
def test_bad_arguments(arguments, message):
    models = {"student": network(4, "student"), "teacher": network(6, "teacher")}
    with pytest.raises(ValueError, match=message):
        distill(**{**models, **arguments})


def test_models_that_share_weights():
    student = network(4, "student")
    with pytest.raises(ValueError, match=r"must not share weights.*student and student share 8"):
        distill(student, student)
    assert student.trainable


def test_a_teacher_of_other_classes_is_refused():
    student, teacher = network(4, "student"), network(8, "teacher")
    kdl.data.set_model_info(teacher, kdl.data.ModelInfo(["ant", "bee", "cat"]))
    model = distill(student, teacher, from_logits=True)
    model.compile("sgd", cross_entropy())
    images = np.zeros((4, *student.input_shape[1:]))
    folder = kdl.data.ArrayDataset(images, [0, 1, 2, 0], class_names=["bee", "ant", "cat"])
    with pytest.raises(ValueError, match=r"data has the classes 'bee', .*teacher has 'ant', 'bee'"):
        model.fit(folder, verbose=0)
    kdl.data.set_model_info(student, kdl.data.ModelInfo(["cat", "ant", "bee"]))
    with pytest.raises(ValueError, match="student has the classes 'cat', 'ant', 'bee', the teach"):
        distill(student, teacher)


def test_a_teacher_that_takes_its_images_otherwise_is_refused():
    student, teacher = network(4, "student"), network(8, "teacher")
    size = student.input_shape[1:3]
    for model, mean in ((student, 0.0), (teacher, 0.5)):
        spec = kdl.data.InputSpec(size, mean=(mean,) * 3)
        kdl.data.set_model_info(model, kdl.data.ModelInfo(None, spec))
    with pytest.raises(ValueError, match="student takes them by InputSpec"):
        distill(student, teacher, from_logits=True)


def test_outputs_of_an_unknown_kind():
    inputs = keras.Input((4, 4, 3))
    x = K.GlobalAveragePooling2D()(K.Conv2D(4, 1)(inputs))
    student = keras.Model(inputs, x, name="student")
    with pytest.raises(ValueError, match="student gives logits or probabilities cannot be seen"):
        distill(student, network(6, "teacher"))
    assert distill(student, network(6, "teacher"), from_logits=True).student is student


def test_a_layer_with_several_outputs():
    inputs = keras.Input((4,))
    parts = keras.ops.split(inputs, 2, axis=-1)
    student = keras.Model(inputs, K.Dense(3)(K.Add()(parts)), name="student")
    name = student.operations[1].name
    teacher = keras.Sequential([keras.Input((4,)), K.Dense(3, name="head")])
    with pytest.raises(ValueError, match="must give one tensor"):
        distill(student, teacher, features={name: "head"})


def test_a_model_without_a_graph():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="graph is unknown"):
        distill(Own(), network(6, "teacher"))


def test_a_distillation_of_a_student_that_learned_from_data_is_loaded(tmp_path):
    student, teacher = network(4, "student"), network(8, "teacher")
    kdl.data.set_model_info(teacher, kdl.data.ModelInfo(list("abcd"), kdl.data.InputSpec((4, 4))))
    model = distill(student, teacher, from_logits=True)
    model.compile("sgd", cross_entropy())
    other = kdl.data.InputSpec((4, 4), mean=(0.5,) * 3)
    images = np.zeros((4, 4, 4, 3))
    names = {"class_names": list("abcd")}
    with pytest.raises(ValueError, match="The data takes them by InputSpec"):
        model.fit(kdl.data.ArrayDataset(images, [0, 1, 2, 3], spec=other, **names), verbose=0)
    kdl.data.set_model_info(student, kdl.data.ModelInfo(list("dcba"), other))
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").student.name == "student"
