import keras
import numpy as np
import pytest

from kdl.applications import ShuffleNetV2
from kdl.compression import calibrate, quantize_aware
from kdl.layers import FakeQuantize
from kdl.testing import _checks

K = keras.layers


def signal_to_noise(expected, actual):
    return 10 * np.log10(np.sum(expected**2) / np.sum((expected - actual) ** 2))


def zoo():
    """One of each operation that has an int8 form."""
    x = inputs = keras.Input((16, 16, 3))
    x = K.Rescaling(1 / 2, offset=0.1)(x)
    x = K.BatchNormalization()(K.Conv2D(8, 3, padding="same", use_bias=False)(x))
    x = K.SeparableConv2D(12, 3, activation="relu")(K.Activation("hard_swish")(x))
    x = K.BatchNormalization()(K.DepthwiseConv2D(3, dilation_rate=2, activation="relu6")(x))
    gate = K.Conv2D(4, 1, activation="swish")(K.GlobalAveragePooling2D(keepdims=True)(x))
    x = K.Multiply()([x, K.Conv2D(12, 1, activation="hard_sigmoid")(gate)])
    left, right = keras.ops.split(x, 2, axis=-1)
    x = K.Concatenate()([left, K.Conv2D(6, 3, padding="same", groups=3)(right)])
    x = K.PReLU(shared_axes=[1, 2])(K.Conv2DTranspose(8, 2, 2, activation="leaky_relu")(x))
    x = K.AveragePooling2D(2)(K.MaxPooling2D(2)(x))
    x = K.ZeroPadding2D(1)(K.UpSampling2D(2, interpolation="bilinear")(x))
    x = K.Average()([x, K.Conv2D(8, 1, activation="tanh")(x)])
    x = K.Add()([x, K.Conv2D(8, 1, activation="gelu")(x)]) / 2
    x = K.Dropout(0.3)(K.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, K.Dense(10)(x))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).standard_normal((32, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def model():
    model = zoo()
    _checks.move_weights(model)
    return model


@pytest.mark.parametrize("batch_norm", ["fold", "live"])
def test_zoo_is_quantized_whole_saved_and_trained(batch_norm, model, images, tmp_path):
    before = model.get_weights()
    expected = model.predict(images, verbose=0)
    quantized, report = quantize_aware(model, images, batch_norm=batch_norm, verbose=0)
    assert report.complete, report
    outputs = quantized.predict(images, verbose=0)
    assert signal_to_noise(expected, outputs) > 25
    assert not np.array_equal(expected, outputs)

    quantized.save(tmp_path / "quantized.keras")
    loaded = keras.models.load_model(tmp_path / "quantized.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), outputs)

    loaded.compile(keras.optimizers.Adam(1e-3), "mse")
    losses = loaded.fit(images, expected + 0.1, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.export
@pytest.mark.parametrize("batch_norm", ["fold", "live"])
def test_the_zoo_exports_as_integers(batch_norm, model, images, tmp_path):
    from kdl.deploy import export_tflite, read_tflite

    quantized, _ = quantize_aware(model, images, batch_norm=batch_norm, verbose=0)
    path = tmp_path / "zoo.tflite"
    result = export_tflite(quantized, path, "int8", verification_data=images)
    assert result.sqnr > 25
    summary = read_tflite(path)
    assert summary.float_tensors == 0
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(summary.operations)


@pytest.mark.long
@pytest.mark.export
@pytest.mark.parametrize("join", [K.Add, K.Average, K.Multiply, K.Maximum])
def test_three_tensors_are_joined_in_integers(join, images, tmp_path):
    """TFLite joins two at a time, and each result needs a range."""
    from kdl.deploy import export_tflite

    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = join()([K.Conv2D(4, 3)(inputs) for _ in range(3)])
    model = keras.Model(inputs, K.Conv2D(2, 1)(x))
    quantized, _ = quantize_aware(model, images, verbose=0)
    export_tflite(quantized, tmp_path / "joined.tflite", "int8", verification_data=images)
    found = signal_to_noise(*(m.predict(images, verbose=0) for m in (model, quantized)))
    assert found > 25


@pytest.mark.export
@pytest.mark.parametrize("relu", [keras.ops.relu, keras.ops.relu6])
def test_standalone_relu_is_fused(relu, tmp_path):
    """LiteRT has no fast int8 ReLU, but fast sums and products that end in one."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 4))
    kept = K.Conv2D(4, 3, padding="same")(inputs)
    joined = keras.ops.concatenate([relu(kept), kept], axis=-1)
    model = keras.Model(inputs, K.Conv2D(4, 1)(relu(joined)))
    images = np.random.default_rng(0).normal(0, 5, (32, 6, 6, 4)).astype("float32")
    quantized, report = calibrate(model, images, verbose=0)
    assert report.complete
    from kdl.deploy import export_tflite, read_tflite

    path = tmp_path / "relu.tflite"
    result = export_tflite(quantized, path, "int8", verification_data=images)
    assert result.sqnr > 30
    found = read_tflite(path).operations
    assert not {"RELU", "RELU6"} & set(found)
    assert found["MUL"] == 2


def test_fewer_bits_are_coarser(images):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, K.Conv2D(4, 3)(inputs))
    expected = model.predict(images, verbose=0)
    found = []
    for bits in (8, 6, 4):
        quantized, _ = quantize_aware(model, images, bits, bits, verbose=0)
        found.append(signal_to_noise(expected, quantized.predict(images, verbose=0)))
    # Six decibels a bit.
    np.testing.assert_allclose(-np.diff(found), 12, atol=3)


def test_concatenated_tensors_share_a_range(images):
    inputs = keras.Input((16, 16, 3))
    parts = [K.Conv2D(4, 1, name=name)(inputs) for name in ("left", "right")]
    x = K.Concatenate()(parts)
    model = keras.Model(inputs, K.Conv2D(2, 1)(K.MaxPooling2D(2)(x)))
    quantized, report = quantize_aware(model, images, verbose=0)
    assert report.shared_ranges == [["left", "right"]]
    observers = [x for x in quantized.layers if isinstance(x, FakeQuantize)]
    assert sorted(x.sites for x in observers) == [1, 1, 2]


def test_a_sigmoid_keeps_its_range_beside_others(images):
    """TFLite prescribes it; what it is joined with has another."""
    inputs = keras.Input((16, 16, 3))
    x = K.Concatenate()([K.Activation("sigmoid")(inputs), K.Conv2D(3, 1)(inputs)])
    quantized, _ = quantize_aware(keras.Model(inputs, x), images, verbose=0)
    observers = [x for x in quantized.layers if isinstance(x, FakeQuantize)]
    assert [x.fixed_range for x in observers if x.fixed_range] == [(0.0, 255 / 256)]
    assert sorted(x.sites for x in observers if not x.fixed_range) == [1, 2]


@keras.saving.register_keras_serializable("kdl_tests")
def doubled(x):
    return 2 * x


def test_float_operations_are_reported(images):
    inputs = keras.Input((16, 16, 3))
    x = K.LayerNormalization(name="norm")(K.Conv2D(4, 1)(inputs))
    x = K.Conv2D(4, 1, activation=doubled, name="odd")(x)
    x = K.GlobalAveragePooling2D()(x) * np.ones(4, "float32")
    model = keras.Model(inputs, K.BatchNormalization(name="late")(x))
    quantized, report = quantize_aware(model, images, verbose=0)
    kept = {entry.name: entry.reason for entry in report.kept_float}
    assert kept["norm"] == "no int8 form of LayerNormalization is known"
    assert kept["odd_activation"] == "no int8 form of Activation is known"
    assert kept["late"] == "no layer before it can be folded with it"
    assert "an operand is a constant array" in kept.values()
    assert "norm (LayerNormalization) stays float" in str(report)
    assert not report.complete
    found = signal_to_noise(*(m.predict(images, verbose=0) for m in (model, quantized)))
    assert found > 25


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (K.UpSampling2D(2, interpolation="bicubic"), "no int8 form of bicubic interpolation"),
        (K.Softmax(axis=1), "its axis is not the last"),
        (K.Activation("elu"), "no int8 form of Activation is known"),
        (K.ReLU(max_value=2), "no int8 form of ReLU is known"),
        (K.BatchNormalization(axis=2), "no layer before it can be folded with it"),
    ],
)
def test_report_names_the_reason_for_float(layer, reason, images):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, layer(K.Conv2D(4, 1)(inputs)))
    for batch_norm in ("fold", "live"):
        _, report = quantize_aware(model, images, batch_norm=batch_norm, verbose=0)
        [kept] = report.kept_float
        assert reason in kept.reason


def test_infinite_padding_before_a_pooling_stays_float(images):
    x = inputs = keras.Input((16, 16, 3))
    x = keras.ops.pad(K.Conv2D(4, 1)(x), [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-np.inf)
    x = K.MaxPooling2D(3, 2, name="pool")(x)
    model = keras.Model(inputs, K.Dense(2)(K.GlobalAveragePooling2D()(x)))
    quantized, report = quantize_aware(model, images, verbose=0)
    reasons = {entry.name: entry.reason for entry in report.kept_float}
    assert reasons.pop("pool") == "what it reads is padded with infinite numbers"
    assert list(reasons.values()) == ["it pads with another number than zero"]
    assert signal_to_noise(*(m.predict(images, verbose=0) for m in (model, quantized))) > 25


def test_layers_that_are_shared_stay_shared(images):
    conv = K.Conv2D(3, 1, activation="relu", name="twice")
    inputs = keras.Input((16, 16, 3))
    quantized, _ = quantize_aware(keras.Model(inputs, conv(conv(inputs))), images, verbose=0)
    assert [x.name for x in quantized.layers].count("twice") == 1
    assert len(quantized.trainable_weights) == 2


def test_a_kdl_network():
    model = ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=4, classifier_activation=None)
    _checks.move_weights(model)
    images = np.random.default_rng(0).standard_normal((8, 32, 32, 3)).astype("float32")
    quantized, report = quantize_aware(model, images, verbose=0)
    assert report.complete, report
    assert any(len(names) > 4 for names in report.shared_ranges)  # a whole stage is one range
    found = signal_to_noise(*(m.predict(images, verbose=0) for m in (model, quantized)))
    assert found > 15


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 8, 8, 3)), r"shape \(samples, 16, 16, 3\).*received \(4, 8, 8, 3\)"),
        (np.zeros((0, 16, 16, 3)), "at least one sample"),
        (np.full((2, 16, 16, 3), np.nan), "not finite .*sample 0"),
        ((np.zeros((4, 16, 16, 3)), np.zeros(3)), "4 inputs but 3 labels"),
    ],
)
def test_bad_data(data, message):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, K.Conv2D(2, 1)(inputs))
    with pytest.raises(ValueError, match=message):
        quantize_aware(model, data, verbose=0)


def test_weights_that_are_not_finite(images):
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, K.Conv2D(2, 1, bias_initializer="ones")(inputs))
    model.layers[1].bias.assign([0.0, np.inf])
    with pytest.raises(ValueError, match="Are the model's weights finite"):
        quantize_aware(model, images, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 9}, "weight_bits must be an integer from 2 to 8"),
        ({"activation_bits": 1}, "activation_bits must be an integer from 2 to 8"),
        ({"batch_norm": "frozen"}, "batch_norm must be one of"),
        ({"observer": "median"}, "observer must be one of"),
    ],
)
def test_bad_arguments(arguments, message, images):
    inputs = keras.Input((16, 16, 3))
    with pytest.raises(ValueError, match=message):
        quantize_aware(keras.Model(inputs, K.Conv2D(2, 1)(inputs)), images, **arguments)


def test_a_model_without_a_graph(images):
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="graph is unknown"):
        quantize_aware(Own(), images)


@pytest.mark.parametrize("data", [None, "images.npy"])
def test_data_of_wrong_type_raises(data):
    inputs = keras.Input((16, 16, 3))
    with pytest.raises(ValueError, match=r"data must be some hundred inputs.*received"):
        quantize_aware(keras.Model(inputs, K.Conv2D(2, 1)(inputs)), data)


def test_model_with_nothing_to_quantize_is_an_error_with_the_reasons(images):
    inputs = K.Input(images.shape[1:])
    model = keras.Model(inputs, K.UnitNormalization()(K.Flatten()(inputs)))
    with pytest.raises(ValueError, match=r"No operation of .* can be quantized") as raised:
        quantize_aware(model, images, verbose=0)
    assert "no int8 form of UnitNormalization" in str(raised.value)


def test_quantized_model_raises(images):
    inputs = K.Input(images.shape[1:])
    quantized, _ = calibrate(keras.Model(inputs, K.Conv2D(4, 3)(inputs)), images, verbose=0)
    with pytest.raises(ValueError, match="is quantized already"):
        quantize_aware(quantized, images, verbose=0)


def test_numbers_of_a_whole_batch_have_a_range(images):
    """No axis holds the samples there; the one range is the batch's."""
    x = inputs = K.Input((3,))
    x = K.Dense(4)(x)
    model = keras.Model(inputs, x - keras.ops.mean(x, axis=0, keepdims=True))
    data = images[:, 0, 0]
    quantized, report = quantize_aware(model, data, verbose=0)
    assert report.complete
    outputs = [_checks.to_numpy(m(data)) for m in (model, quantized)]
    assert signal_to_noise(*outputs) > 30


def test_augmentation_inside_a_model_counts_as_quantized(images):
    inputs = K.Input(images.shape[1:])
    model = keras.Model(inputs, K.Conv2D(4, 3)(K.RandomFlip()(K.GaussianNoise(0.1)(inputs))))
    quantized, report = quantize_aware(model, images, verbose=0)
    assert report.complete, report
    assert any(isinstance(layer, K.RandomFlip) for layer in quantized.layers)


@pytest.mark.export
def test_groups_that_a_mobile_gpu_gets_wrong_export_as_integers(images, tmp_path):
    """Each of several grouped convolutions is one operation of int8 in the file."""
    from kdl.deploy import export_tflite, read_tflite

    x = inputs = K.Input(images.shape[1:])
    x = K.Conv2D(24, 3, activation="relu")(x)
    for groups in (4, 8):
        x = K.Conv2D(24, 3, groups=groups, padding="same", use_bias=False)(x)
        x = K.ReLU(6.0)(K.BatchNormalization()(x))
    quantized, report = quantize_aware(keras.Model(inputs, x), images, verbose=0)
    assert report.complete
    export_tflite(quantized, tmp_path / "model.tflite", "int8", verification_data=images)
    summary = read_tflite(tmp_path / "model.tflite")
    assert summary.float_tensors == 0
    assert summary.operations["CONV_2D"] == 3


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "preprocessing",
    [K.Rescaling(1 / 127.5, -1), K.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3)],
)
def test_constants_of_preprocessing_are_not_trained(preprocessing):
    """A step of Adam's would be an eighth of the scale."""
    inputs = keras.Input((4, 4, 3))
    x = K.Conv2D(2, 3, name="conv")(preprocessing(inputs))
    images = np.random.default_rng(0).uniform(0, 255, (8, 4, 4, 3)).astype("float32")
    quantized, _ = quantize_aware(keras.Model(inputs, x), images, verbose=0)
    [constants] = [layer for layer in quantized.layers if layer.name == preprocessing.name]
    assert len(constants.weights) == 2
    trained = {id(variable) for variable in quantized.trainable_variables}
    assert trained == {id(variable) for variable in quantized.get_layer("conv").weights}


def test_masks_reach_the_layers_behind_what_is_rounded():
    inputs = keras.Input((6,), dtype="int32")
    x = K.Embedding(9, 8, mask_zero=True)(inputs)
    model = keras.Model(inputs, K.Dense(2)(K.MultiHeadAttention(2, 4)(x, x)[:, 0]))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    words = rng.integers(1, 9, (32, 6))
    words[np.arange(6) >= rng.integers(1, 6, (32, 1))] = 0
    expected = model.predict(words, verbose=0)
    quantized, _ = calibrate(model, words, verbose=0)
    assert signal_to_noise(expected, quantized.predict(words, verbose=0)) > 20


@pytest.mark.parametrize(
    "head",
    [
        lambda x: K.Dense(3, activation="softmax")(x),
        lambda x: K.Activation("softmax")(K.Dense(3)(K.Dense(4, activation="relu")(x))),
        lambda x: K.Activation("softmax")(K.Average()([K.Dense(3)(x) for _ in range(3)])),
    ],
    ids=["softmax", "relu", "average"],
)
def test_masks_reach_the_loss(head):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32")
    model = keras.Model(inputs, head(K.Embedding(9, 8, mask_zero=True)(inputs)))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(0, 1, weight.shape))
    words = np.tile([1, 2, 3, 0, 0, 0], (8, 1))
    labels = np.argmax(model.predict(words, verbose=0), -1)
    labels[words == 0] = np.argmin(model.predict(words, verbose=0), -1)[words == 0]
    losses = []
    for network in (model, calibrate(model, words, verbose=0)[0]):
        network.compile("sgd", "sparse_categorical_crossentropy")
        losses.append(network.evaluate(words, labels, verbose=0))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


@pytest.mark.parametrize(
    "join", [K.Average(), K.Maximum(), K.Add(), K.Multiply()], ids=lambda join: join.name
)
def test_tensors_of_fewer_axes_are_joined_as_keras_joins_them(join):
    """Six samples of six steps: along the wrong axis that fits, too."""
    steps, whole = keras.Input((6, 4)), keras.Input((4,))
    model = keras.Model([steps, whole], K.Dense(2)(join([steps, whole, whole])))
    rng = np.random.default_rng(0)
    data = [rng.random((6, *shape)).astype("float32") for shape in ((6, 4), (4,))]
    quantized, _ = calibrate(model, data, verbose=0)
    outputs = [network.predict(data, verbose=0) for network in (model, quantized)]
    assert signal_to_noise(*outputs) > 25


def test_samples_joined_with_another_axis_have_a_range():
    inputs = keras.Input((6, 4))
    x = K.Dense(3)(keras.ops.reshape(inputs, (-1, 4)))
    model = keras.Model(inputs, keras.ops.reshape(x, (-1, 6, 3)))
    data = np.random.default_rng(0).normal(0, 1, (8, 6, 4)).astype("float32")
    quantized, _ = calibrate(model, data, verbose=0)
    outputs = [network.predict(data, verbose=0) for network in (model, quantized)]
    assert signal_to_noise(*outputs) > 25


@pytest.mark.export
@pytest.mark.parametrize("bias", [True, False])
def test_a_relu_after_a_transposed_convolution_is_in_integers(bias, tmp_path):
    """The converter joins the two where there is a bias alone, and then rounds once."""
    from kdl.deploy import export_tflite, read_tflite

    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 3))
    x = K.Conv2DTranspose(4, 3, bias_initializer="random_normal" if bias else "zeros")(inputs)
    model = keras.Model(inputs, K.ReLU()(x))
    images = np.random.default_rng(0).normal(0, 1, (64, 4, 4, 3)).astype("float32")
    quantized, report = calibrate(model, images, verbose=0)
    assert report.complete
    path = tmp_path / "model.tflite"
    export_tflite(quantized, path, "int8", verification_data=images)
    summary = read_tflite(path)
    assert summary.float_tensors == 0
    assert ("MUL" in summary.operations) != bias


def test_outputs_that_are_not_finite_are_told():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.log(K.Dense(3)(inputs)))
    data = np.random.default_rng(0).normal(0, 1, (16, 4)).astype("float32")
    with pytest.raises(ValueError, match="not finite, first at the outputs"):
        calibrate(model, data, verbose=0)


@pytest.mark.parametrize(
    "drop",
    [lambda x, y, z: K.Add()([x, y, z]), lambda x, y, z: x / 2.0 + y, lambda x, y, z: x / 2.0],
    ids=["add", "operations", "operation"],
)
def test_masks_that_keras_drops_stay_dropped(drop):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="int32")
    masked = K.Embedding(9, 8, mask_zero=True)(inputs)
    x = drop(masked, K.Embedding(9, 8)(inputs), K.Embedding(9, 8)(inputs))
    model = keras.Model(inputs, K.Dense(3)(K.GlobalAveragePooling1D()(x)))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(0, 1, weight.shape))
    words = np.random.default_rng(0).integers(1, 9, (32, 6)) * (np.arange(6) < 3)
    outputs = [
        one.predict(words, verbose=0) for one in (model, calibrate(model, words, verbose=0)[0])
    ]
    assert signal_to_noise(*outputs) > 20
