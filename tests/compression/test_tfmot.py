import sys

import keras
import numpy as np
import pytest
from keras import ops

from kdl import layers
from kdl.compression import ConstantSparsity, PolynomialSparsity, flatten, tfmot
from kdl.compression.quantization._decompose import decompose
from kdl.compression.tfmot import _counterparts
from kdl.graph.inline import inline
from kdl.graph.read_graph import read_graph
from kdl.testing import _checks

K = keras.layers


@pytest.fixture(scope="module", autouse=True)
def _one_process():
    with tfmot.warm_process():
        yield


def moves(x):
    """What moves numbers: `(…, 8, 8, 8)` → `(…, 8, 8, 8)`."""
    left, right = ops.split(x, 2, axis=-1)
    x = ops.concatenate([right, left], axis=-1)
    x = ops.reshape(ops.transpose(ops.reshape(x, (-1, 64, 2, 4)), (0, 1, 3, 2)), (-1, 8, 8, 8))
    x = ops.swapaxes(ops.moveaxis(ops.swapaxes(x, 1, 2), 1, 2), -1, -1)
    x = ops.stack(ops.unstack(x, axis=1), axis=1)
    x = ops.squeeze(ops.expand_dims(x, 1), 1)
    x = ops.max_pool(ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 1)
    x = ops.roll(x, 1, axis=1)
    x = ops.tile(x[:, :4], (1, 2, 1, 1))
    x = ops.repeat(x[..., ::2], 2, axis=-1)
    x = K.ZeroPadding2D(1)(K.Cropping2D(1)(x))
    x = K.Permute((2, 1, 3))(K.Reshape((8, 8, 8))(K.Flatten()(x)))
    x = K.SpatialDropout2D(0.1)(K.GaussianDropout(0.1)(K.Dropout(0.1)(x)))
    return K.UpSampling2D(2)(K.MaxPooling2D(2)(x))


def computes(x):
    """What computes: `(…, 8, 8, 8)` → `(…, 8)`."""
    x = K.BatchNormalization(name="follows")(K.Conv2D(8, 3, padding="same", name="conv")(x))
    x = K.BatchNormalization(name="alone")(ops.relu(x))
    x = K.DepthwiseConv2D(3, padding="same", dilation_rate=2, activation="relu6")(x)
    x = layers.SqueezeExcite(2, data_format="channels_last", name="se")(x)
    x = K.SeparableConv2D(8, 3, padding="same", activation="hard_swish", name="separable")(x)
    y = K.PReLU(shared_axes=[1, 2])(K.Conv2DTranspose(8, 2, 2, activation="leaky_relu")(x))
    x = K.Average()([K.AveragePooling2D(2)(y), ops.average_pool(y, 2), x])
    x = K.Multiply()([x, K.Activation("hard_sigmoid")(K.Conv2D(8, 1, groups=2)(x))])
    x = K.Subtract()([K.Add()([x, ops.tanh(x)]), ops.gelu(x) - 0.5 * ops.sigmoid(x)])
    x = K.Maximum()([x, ops.minimum(x, K.Minimum()([x, ops.maximum(x, y[:, ::2, ::2])]))])
    x = K.Resizing(8, 8)(ops.image.resize(x, (4, 4)))
    x = K.Concatenate()([x, K.Activation("swish")(x)])
    pooled = K.GlobalMaxPooling2D()(x) + K.GlobalAveragePooling2D()(x)
    pooled = K.BatchNormalization(name="of_rows")(pooled + ops.mean(x, (1, 2)) * 2)
    return ops.softmax(K.Dense(8)(pooled + ops.max(x, (1, 2))))


def zoo():
    """A model of all that has an int8 form, one half nested in it."""
    start = keras.Input((8, 8, 8))
    half = keras.Model(start, moves(start), name="half")
    inputs = keras.Input((8, 8, 3))
    x = K.Rescaling(0.5, offset=0.1)(inputs)
    norm = K.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])
    return keras.Model(inputs, computes(half(K.Conv2D(8, 1, name="stem")(norm(x)))))


def float_only():
    """A model of what is pruned and clustered, but has no int8 form."""
    x = inputs = keras.Input((8, 8, 3))
    x = K.ReLU(max_value=2, negative_slope=0.1, threshold=0.2)(x)
    return keras.Model(inputs, ops.elu(K.Activation("softplus")(K.Dense(2)(x)), 0.5))


def network():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    x = K.BatchNormalization()(K.Conv2D(8, 3, use_bias=False, name="conv")(x))
    x = K.SeparableConv2D(8, 3, activation="relu", name="separable")(x)
    inner_input = keras.Input((4, 4, 8))
    inner = K.GlobalAveragePooling2D()(K.Conv2D(6, 1, name="conv")(inner_input))
    x = keras.Model(inner_input, inner, name="inner")(x)
    return keras.Model(inputs, K.Dense(4, name="dense")(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((48, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def labels():
    return np.random.default_rng(1).integers(0, 4, 48)


def kernels(model):
    return {
        layer.name: w
        for layer in flatten(model).layers
        for w in layer.get_weights()
        if w.ndim > 1 and ("Depthwise" not in type(layer).__name__)
    }


def zeros(kernel):
    return np.mean(kernel == 0)


def signal_to_noise(expected, actual):
    return 10 * np.log10(np.sum(expected**2) / np.sum((expected - actual) ** 2))


def kinds(model):
    graph = decompose(inline(read_graph(model)), keep=_counterparts.AFFINE)
    return {(n.kind, isinstance(n.operation, K.Layer)) for n in graph.nodes}


def test_the_zoo_holds_all_that_has_a_counterpart():
    found = kinds(zoo()) | kinds(float_only())
    rows = {(kind, True) for kind in [*_counterparts.LAYERS, *_counterparts.AFFINE]}
    rows |= {(kind, False) for kind in _counterparts.OPERATIONS}
    assert not rows - found


@pytest.mark.long
@pytest.mark.export
@pytest.mark.parametrize("make", [pytest.param(zoo, marks=pytest.mark.long), float_only])
def test_counterpart_outputs_match_keras(make, images):
    """`predict` compares with Keras 3 within 1e-4 of the spread before it answers."""
    model = make()
    _checks.move_weights(model)
    wrapped = tfmot.prune(model, ConstantSparsity(0.5))
    outputs = wrapped.predict(images)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), rtol=0, atol=1e-4)


@pytest.mark.long
@pytest.mark.export
def test_zoo_is_quantized_whole(images, labels, tmp_path):
    from kdl.deploy import TFLiteRunner, export_tflite, read_tflite

    keras.utils.set_random_seed(0)
    model = zoo()
    _checks.move_weights(model)
    before, images = model.get_weights(), images * 10
    wrapped = tfmot.quantize(model)
    history = wrapped.fit(
        images, labels, 1, loss="sparse_categorical_crossentropy", seed=0, verbose=0
    )
    assert np.isfinite(history["loss"]).all()
    path = tmp_path / "zoo.tflite"
    result = export_tflite(wrapped, path, "int8", verification_data=(images, labels), batch_size=2)
    assert result.sqnr > 25
    assert read_tflite(path).float_tensors == 0

    stripped = tfmot.strip(wrapped)
    for old, own, new in zip(before, model.weights, stripped.weights, strict=True):
        np.testing.assert_array_equal(old, own)
        assert not np.array_equal(old, new) or not own.trainable, own.path
    assert not np.array_equal(*(m.get_layer("follows").moving_mean for m in (model, stripped)))
    unrounded, [rounded] = stripped.predict(images, verbose=0), TFLiteRunner(path).predict(images)
    assert signal_to_noise(unrounded, rounded) > 20


@pytest.mark.long
@pytest.mark.export
@pytest.mark.parametrize(
    ("last", "backward"),
    [
        (K.AveragePooling2D(3, 1, padding="same"), True),
        (lambda x: ops.split(x, 2, axis=-1)[1], False),
    ],
)
def test_concatenation_keeps_its_order(last, backward, images):
    """TF-MOT by itself goes by the order of the layers, and takes first outputs for others."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(images.shape[1:])
    x = K.Conv2D(8, 1)(inputs)
    parts = [
        K.ReLU()(K.BatchNormalization()(K.Conv2D(4, 1)(x))),
        K.ReLU()(K.BatchNormalization()(K.Conv2D(4, 3, padding="same")(x))),
        last(x),
    ]
    x = K.Concatenate()(parts[::-1] if backward else parts)
    x = K.GlobalAveragePooling2D()(K.Conv2D(8, 3)(x))
    model = keras.Model(inputs, K.Dense(8)(x))
    _checks.move_weights(model)
    wrapped = tfmot.quantize(model)
    stands_still = keras.optimizers.SGD(0.0)
    wrapped.fit(images, np.zeros((48, 8)), optimizer=stands_still, loss="mse", verbose=0)
    rounded = wrapped.predict(images)
    assert signal_to_noise(model.predict(images, verbose=0), rounded) > 20


@pytest.mark.long
@pytest.mark.export
@pytest.mark.parametrize("keys", [("left", "right"), ("right", "left")])
def test_several_inputs_go_by_name(keys, images, tmp_path):
    from kdl.deploy import TFLiteRunner, export_tflite

    keras.utils.set_random_seed(0)
    inputs = {key: keras.Input(images.shape[1:], name=key) for key in keys}
    conv = K.Conv2D(8, 3, padding="same")
    x = K.Subtract()([K.ReLU()(conv(inputs["left"])), K.ReLU()(K.Conv2D(8, 1)(inputs["right"]))])
    model = keras.Model([*inputs.values()], K.Dense(4)(K.GlobalAveragePooling2D()(x)))
    _checks.move_weights(model)
    data = {"right": 3 * images[::-1], "left": images}
    wrapped, path = tfmot.quantize(model), tmp_path / "m.tflite"
    stands_still = keras.optimizers.SGD(0.0)
    wrapped.fit(data, np.zeros((48, 4)), optimizer=stands_still, loss="mse", verbose=0)
    expected = model.predict([data[key] for key in keys], verbose=0)
    assert signal_to_noise(expected, wrapped.predict(data)) > 20
    assert export_tflite(wrapped, path, "int8", verification_data=data).passed
    assert signal_to_noise(expected, TFLiteRunner(path).predict(data)[0]) > 20


@pytest.mark.long
@pytest.mark.tensorflow
def test_pruned_weights_come_back_and_stay_zero(images, labels):
    model = network()
    wrapped = tfmot.prune(model, PolynomialSparsity(0.5, 2, 0, 0.2, frequency=1))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 6)
    options = {"loss": loss, "optimizer": keras.optimizers.AdamW(rate), "batch_size": 16}
    wrapped.fit(images, labels, 2, **options, verbose=0)
    first = kernels(tfmot.strip(wrapped))
    assert set(first) == {"conv", "separable", "inner_conv", "dense"}
    for name, kernel in first.items():
        wanted = 0 if name == "separable" and kernel.shape[0] == 3 else 0.5
        assert abs(zeros(kernel) - wanted) <= 1 / kernel.size, name

    history = wrapped.fit(
        images,
        labels,
        1,
        **options,
        metrics=["accuracy"],
        validation_data=(images, labels),
        verbose=0,
    )
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    stripped = tfmot.strip(wrapped)
    for name, kernel in kernels(stripped).items():
        assert not kernel[first[name] == 0].any()
        assert not np.array_equal(kernel, first[name])
    outputs = wrapped.predict(images)
    np.testing.assert_allclose(stripped.predict(images, verbose=0), outputs, rtol=0, atol=1e-5)
    assert all(zeros(kernel) == 0 for kernel in kernels(model).values())


@pytest.mark.export
def test_clustered_weights_have_few_values(images, labels, capsys):
    wrapped = tfmot.cluster(network(), 4, "linear", layers=["conv", "separable", "dense"])
    wrapped.fit(images, labels, 2, loss="mse", optimizer="sgd", verbose=2)
    assert "Epoch 2/2" in capsys.readouterr().out
    stripped = tfmot.strip(wrapped)
    found = {name: len(np.unique(kernel)) for name, kernel in kernels(stripped).items()}
    assert found["conv"] == found["separable"] == found["dense"] == 4
    assert found["inner_conv"] == 48
    outputs = wrapped.predict(images)
    np.testing.assert_allclose(stripped.predict(images, verbose=0), outputs, rtol=0, atol=1e-5)


@pytest.mark.export
def test_kernels_too_small_to_cluster_stay(images, labels):
    wrapped = tfmot.cluster(network(), 32)
    wrapped.fit(images, labels, loss="mse", verbose=0)
    found = kernels(tfmot.strip(wrapped))
    distinct = {name: len(np.unique(kernel)) for name, kernel in found.items()}
    assert max(distinct[name] for name in ("conv", "separable", "inner_conv")) <= 32
    assert distinct["dense"] == found["dense"].size == 24


def test_frozen_layers_are_not_clustered():
    """TF-MOT ended with an error that named the layer by a number."""
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, trainable=False, name="frozen")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="dense")(x))
    assert tfmot.cluster(model, 4)._settings["layers"] == ["n1"]
    assert tfmot.prune(model, ConstantSparsity(0.5))._settings["layers"] == ["n0", "n1"]
    with pytest.raises(ValueError, match="frozen is frozen, and its values are trained"):
        tfmot.cluster(model, 4, layers=["dense", "frozen"])


@pytest.mark.parametrize("form", ["tuple", "list", "dataset"])
def test_sample_weights_raise(form):
    """They were left out without a word."""
    inputs = keras.Input((6,))
    wrapped = tfmot.cluster(keras.Model(inputs, keras.layers.Dense(4)(inputs)), 4)
    batch = np.zeros((2, 6), "float32"), np.zeros((2, 4), "float32"), np.ones(2)

    class Weighted(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return batch

    data = {"tuple": batch, "list": [batch, batch], "dataset": Weighted()}[form]
    with pytest.raises(ValueError, match="x holds weights of samples"):
        wrapped.fit(data, loss="mse", verbose=0)


@pytest.mark.export
def test_quantization_keeps_zeros(images, labels):
    model = network()
    pruned = tfmot.prune(model, ConstantSparsity(0.5), layers=["dense"], n_of_m=(1, 3))
    pruned.fit(images, labels, 1, loss="mse", verbose=0)
    sparse = tfmot.strip(pruned)
    kernel = kernels(sparse)["dense"]
    assert np.all((kernel.reshape(2, 3, 4) != 0).sum(axis=1) == 1)
    wrapped = tfmot.quantize(sparse, preserve="sparsity")
    wrapped.fit(images, labels, 1, loss="mse", verbose=0)
    after = kernels(tfmot.strip(wrapped))["dense"]
    assert not after[kernel == 0].any()
    assert not np.array_equal(after, kernel)


@pytest.mark.export
def test_counterpart_with_other_outputs_is_not_trained(images, labels):
    model = network()
    wrapped = tfmot.prune(model, ConstantSparsity(0.5))
    wrapped.model.get_layer("dense").bias.assign([0, 0, 0, 0.1])
    with pytest.raises(ValueError, match="differ from the Keras 3 model's"):
        wrapped.fit(images, labels, loss="mse", verbose=0)
    np.testing.assert_array_equal(*(m.get_weights()[0] for m in (model, tfmot.strip(wrapped))))


@keras.saving.register_keras_serializable("kdl_tests")
def tripled(x):
    return 3 * x


@pytest.mark.parametrize(
    ("layer", "quantized", "reason"),
    [
        (K.LayerNormalization(name="odd"), False, r"\(LayerNormalization\).*has no counterpart"),
        (K.Activation(tripled, name="odd"), False, r"odd \(Activation\).*activation tripled"),
        (lambda x: x * np.ones(3, "float32"), False, r"\(Multiply\).*is a constant array"),
        (
            K.Conv2D(2, 1, kernel_constraint="non_neg"),
            False,
            "its kernel_constraint has no counterpart",
        ),
        (K.ReLU(max_value=2), True, r"\(ReLU\).*no int8 form"),
        (K.Activation("elu"), True, r"\(Activation\).*no int8 form.*quantize_aware takes"),
        (K.Activation("selu", name="odd"), True, r"odd.*These can: .*Conv2D.*Multiply"),
        (K.BatchNormalization(axis=2), True, "no counterpart acts on this axis"),
        (lambda x: ops.image.resize(x, (4, 4), "bicubic"), True, "bicubic interpolation"),
    ],
)
def test_layer_without_counterpart_raises_its_name(layer, quantized, reason):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layer(inputs))
    wrappers = [lambda: tfmot.quantize(model)]
    if quantized:
        assert tfmot.cluster(model).method == "cluster"
    else:
        wrappers += [lambda: tfmot.prune(model, ConstantSparsity(0.5))]
    for wrap in wrappers:
        with pytest.raises(ValueError, match=reason):
            wrap()


def test_unsupported_models_raise():
    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match="only functional and Sequential models"):
        tfmot.quantize(Own())
    inputs = keras.Input((4,))
    half = keras.Model(inputs, K.Dense(2, dtype="mixed_float16", name="half")(inputs))
    with pytest.raises(ValueError, match="half computes in float16"):
        tfmot.quantize(half)
    inputs = keras.Input((4,), dtype="int32", name="codes")
    with pytest.raises(ValueError, match="inputs of float32; the input codes has int32"):
        tfmot.quantize(keras.Model(inputs, K.Dense(2)(inputs)))


def entropy_of_rows():
    return keras.losses.SparseCategoricalCrossentropy(axis=1)


def without_decay_of_biases():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros((4, 9, 9, 3))}, r"shape \(samples, 8, 8, 3\).*received \(4, 9, 9, 3\)"),
        ({"x": np.full((48, 8, 8, 3), np.nan)}, "not finite"),
        ({"y": np.zeros(7)}, r"differ in length: \[7, 48\]"),
        ({"epochs": 0}, "epochs must be a positive integer"),
        ({"loss": lambda y, z: y - z}, "loss must be the name of a Keras loss"),
        ({"loss": keras.losses.Huber(reduction="none")}, "must be a mean or 'sum' here.*'none'"),
        ({"optimizer": "lion"}, "optimizer must be one of Adadelta.*received Lion"),
        ({"loss": entropy_of_rows()}, "no axis of SparseCategoricalCrossentropy: leave it at -1"),
        ({"optimizer": keras.optimizers.SGD(use_ema=True)}, "no use_ema here"),
        ({"optimizer": without_decay_of_biases()}, "exclude_from_weight_decay"),
    ],
)
def test_fit_with_bad_arguments_raises(arguments, message, images, labels):
    wrapped = tfmot.prune(network(), ConstantSparsity(0.5))
    with pytest.raises(ValueError, match=message):
        wrapped.fit(**{"x": images, "y": labels, "loss": "mse", **arguments})


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda m: tfmot.quantize(m, "zeros"), "preserve must be one of"),
        (lambda m: tfmot.prune(m, 0.5), "schedule must be a ConstantSparsity or"),
        (
            lambda m: tfmot.prune(m, ConstantSparsity(0.5), ["stem"]),
            "no layer stem.*conv, sep",
        ),
        (lambda m: tfmot.prune(m, ConstantSparsity(0.5), n_of_m=(4, 2)), "0 < n < m"),
        (
            lambda m: tfmot.prune(m, ConstantSparsity(0.5), block_pooling="sum"),
            "block_pooling",
        ),
        (lambda m: tfmot.cluster(m, 1), "at least 2"),
        (lambda m: tfmot.cluster(m, 4, "zeros"), "initialization must be one of"),
    ],
)
def test_arguments_out_of_range(wrap, message):
    with pytest.raises(ValueError, match=message):
        wrap(network())


def test_predict_before_fit_raises(images):
    with pytest.raises(ValueError, match="no ranges yet: call fit"):
        tfmot.quantize(network()).predict(images)
    pruned = tfmot.prune(network(), ConstantSparsity(0.5))
    with pytest.raises(ValueError, match="Only a quantized model"):
        pruned.convert(images, {"image": (1, 8, 8, 3)}, ["logits"])


@pytest.fixture
def own_process(monkeypatch):
    monkeypatch.setattr("kdl.compression.tfmot._process.shared.worker", None)


@pytest.mark.usefixtures("own_process")
def test_missing_package_raises(root, monkeypatch, images, labels):
    monkeypatch.syspath_prepend(root / "tests" / "no_tensorflow")
    wrapped = tfmot.prune(network(), ConstantSparsity(0.5))
    with pytest.raises(ImportError, match=r"pip install tensorflow tensorflow-model-optimization"):
        wrapped.fit(images, labels, loss="mse")


@pytest.mark.usefixtures("own_process")
def test_crashed_process_raises(monkeypatch, images, labels, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    wrapped = tfmot.cluster(network())
    with pytest.raises(RuntimeError, match="exit status 3: out of memory"):
        wrapped.fit(images, labels, loss="mse")


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", ["functional", "Sequential"])
def test_a_constant_sparsity_prunes_from_the_first_step_on(kind, images):
    rows = images.reshape(len(images), -1)[:, :8]
    model = keras.Sequential([keras.Input((8,)), K.Dense(8)])
    if kind == "functional":
        model = keras.Model(model.inputs, model.outputs)
    wrapped = tfmot.prune(model, ConstantSparsity(0.5))
    wrapped.fit(rows, np.zeros((len(rows), 8)), epochs=1, batch_size=8, loss="mse", verbose=0)
    assert np.mean(tfmot.strip(wrapped).get_weights()[0] == 0) == pytest.approx(0.5, abs=0.02)
