"""The outputs of a model, of its file and of the proof are the same, whatever they are called."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers, ops

import kdl
from kdl.compression import calibrate
from kdl.deploy import ExportError, TFLiteRunner, export_tflite, read_tflite, verify_tflite
from kdl.deploy.exporting.explanations import explain_refusal, runs_explained
from kdl.deploy.exporting.tolerances import TOLERANCES
from kdl.deploy.exporting.verify import compare_outputs

pytestmark = pytest.mark.export


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((60, 8, 8, 3)).astype("float32")


def shared_layer():
    inputs = keras.Input((8, 8, 3))
    dense = layers.Dense(3, name="d")
    pooled = (layers.GlobalAveragePooling2D()(inputs), layers.GlobalMaxPooling2D()(inputs))
    return keras.Model(inputs, [dense(x) for x in pooled])


def states():
    inputs = keras.Input((6, 5))
    lstm = layers.LSTM(4, return_sequences=True, return_state=True, name="lstm")
    return keras.Model(inputs, lstm(inputs))


def nested():
    """With names that TensorFlow refuses, but where Keras itself runs on it."""
    odd = ["größe 1", "modèle", "odd name"]
    if keras.backend.backend() == "tensorflow":
        odd = ["size_1", "model", "name"]
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name=odd[0])(inputs)
    y = layers.Conv2D(4, 3, strides=2, name="size-1")(inputs)
    flat = layers.Flatten(name=odd[1])(x)
    outputs = {"boxes": {"p4": y, "p3": x}, "image": (flat, inputs), "same": x, "same twice": x}
    return keras.Model(inputs, outputs, name=odd[2])


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (shared_layer, {"d_0": (1, 3), "d_1": (1, 3)}),
        (states, {"lstm_0": (1, 6, 4), "lstm_1": (1, 4), "lstm_2": (1, 4)}),
        (
            nested,
            {
                "boxes_p3": (1, 6, 6, 4),
                "boxes_p4": (1, 3, 3, 4),
                "image_0": (1, 144),
                "image_1": (1, 8, 8, 3),
                "same": (1, 6, 6, 4),
                "same_twice": (1, 6, 6, 4),
            },
        ),
    ],
)
def test_every_output_is_in_the_file_its_proof_and_its_runner(make, shapes, tmp_path):
    model, path = make(), tmp_path / "m.tflite"
    result = export_tflite(model, path)
    assert {name: shape for name, (shape, _) in read_tflite(path).outputs.items()} == shapes
    assert {output.name: (1, *output.shape) for output in result.outputs} == shapes
    runner = TFLiteRunner(path)
    assert dict(zip(runner.output_names, runner.output_shapes, strict=True)) == shapes
    x = np.random.default_rng(1).random((2, *model.input_shape[1:])).astype("float32")
    pairs = keras.tree.flatten_with_path(model.predict(x, verbose=0))
    expected = {"_".join(map(str, path)).replace(" ", "_"): y for path, y in pairs}
    for name, y in zip(runner.output_names, runner.predict(x), strict=True):
        key = name if name in expected else name.rpartition("_")[2]
        np.testing.assert_allclose(y, expected[key], atol=1e-5)


def test_outputs_of_one_shape_keep_their_keys_in_any_order(tmp_path):
    """Keras saves layers in the order of the outputs, which is another one in another process."""
    inputs = keras.Input((4,))
    heads = [layers.Dense(3, name=name)(inputs) for name in "pqrs"]
    outputs = {1: {"b": heads[0], "a": heads[1]}, 10: heads[2], 2: heads[3]}
    model, path = keras.Model(inputs, outputs), tmp_path / "m.tflite"
    assert export_tflite(model, path).passed
    runner = TFLiteRunner(path)
    x = np.random.default_rng(0).random((2, 4)).astype("float32")
    found = dict(zip(runner.output_names, runner.predict(x), strict=True))
    for key, name in {"1_b": "p", "1_a": "q", "10": "r", "2": "s"}.items():
        weights = model.get_layer(name).get_weights()
        np.testing.assert_allclose(found[f"output_{key}"], x @ weights[0] + weights[1], atol=1e-5)


@pytest.mark.parametrize("form", ["float16", "dynamic", "int8", "calibrated"])
def test_outputs_of_one_layer_are_judged_one_by_one_in_every_form(form, images, tmp_path):
    model, path = shared_layer(), tmp_path / "m.tflite"
    if form == "calibrated":
        model, _ = calibrate(model, images, verbose=0)
    kind = "int8" if form == "calibrated" else form
    result = export_tflite(model, path, kind, images, verification_data=images)
    assert [output.name for output in result.outputs] == ["d_0", "d_1"]
    assert {output.sqnr > 15 for output in result.outputs} == {True}
    assert sorted(read_tflite(path).outputs) == ["d_0", "d_1"]


def test_a_file_whose_outputs_are_swapped_or_missing_is_refused(images, tmp_path, monkeypatch):
    conversion = importlib.import_module("kdl.deploy.exporting.conversion")
    model, path = shared_layer(), tmp_path / "m.tflite"
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "output_names", lambda model: ["d_1", "d_0"])
        with pytest.raises(ExportError, match=r"d_0: .*d_1: "):
            export_tflite(model, path)
    assert not path.exists()
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "output_names", lambda model: ["d", "d"])
        with pytest.raises(ExportError, match="Two outputs have the same name"):
            export_tflite(model, path)
    export_tflite(keras.Model(model.inputs, model.outputs[0]), path)
    with pytest.raises(ValueError, match="exported from another model"):
        verify_tflite(path, model, images)


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_integers_go_in_and_out(form, tmp_path):
    """Bytes in, and classes of pixels out: as a segmentation network that needs nothing else."""
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = layers.Rescaling(1 / 255)(ops.cast(inputs, "float32"))
    x = layers.Conv2D(3, 3)(x)
    outputs = {"most": ops.argmax(x, -1), "least": ops.argmin(x, axis=-1, keepdims=True)}
    if form == "float32":
        outputs["hot"] = ops.one_hot(ops.argmax(x, -1), 3)
    data = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype("uint8")
    path = tmp_path / "m.tflite"
    result = export_tflite(keras.Model(inputs, outputs), path, form, data)
    kinds = {output.name: output.kind for output in result.outputs}
    assert kinds["most"] == kinds["least"] == "labels"
    assert read_tflite(path).inputs["image"] == ((1, 8, 8, 3), "UINT8")
    assert read_tflite(path).operations["ARG_MAX"] == 1
    assert result.quantization == form


@pytest.mark.every_backend
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="no such convolution on CPUs")
def test_channels_first_as_wide_as_there_are_channels(tmp_path):
    inputs = keras.Input((3, 4, 4))
    conv = layers.Conv2D(4, 3, padding="same", data_format="channels_first", activation="relu")
    model = keras.Model(inputs, conv(inputs))
    conv.bias.assign([0.0, 1.0, 2.0, 3.0])
    assert export_tflite(model, tmp_path / "m.tflite").passed


def test_int8_of_one_hot_is_refused(tmp_path):
    """The converter writes it with the numbers of another scale."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.one_hot(ops.argmax(layers.Dense(6)(inputs), -1), 6))
    data = np.random.default_rng(0).standard_normal((60, 4)).astype("float32")
    with pytest.raises(ExportError, match=r"no int8 form of ONE_HOT.*calibrate"):
        export_tflite(model, tmp_path / "m.tflite", "int8", data)


def test_int8_of_loops_names_the_layers_and_what_works(tmp_path):
    x = inputs = keras.Input((6, 6, 2))
    frames = layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True, name="frames")
    x = layers.Reshape((6, 12))(frames(x[:, :, :, None]))
    inner = keras.Sequential(
        [
            keras.Input((6, 12)),
            layers.Bidirectional(layers.GRU(2, return_sequences=True), name="both ways"),
        ],
        name="inside",
    )
    x = kdl.layers.PeepholeLSTM(3, name="peephole")(inner(x))
    data = np.zeros((4, 6, 6, 2), "float32")
    with pytest.raises(ExportError) as caught:
        export_tflite(keras.Model(inputs, x), tmp_path / "m.tflite", "int8", data)
    for word in ("frames", "forward", "backward", "peephole", "unroll=True", "calibrate"):
        assert word in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_operation_without_an_int8_form_is_named_with_the_way_on(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = layers.Dense(16)(layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(inputs)))
    model = keras.Model(inputs, layers.UnitNormalization(name="unit")(x))
    path = tmp_path / "m.tflite"
    with pytest.raises(ExportError, match=r"no int8 form of .*\(unit\).*calibrate\(model, data\)"):
        export_tflite(model, path, "int8", images)
    calibrated, _ = calibrate(model, images, verbose=0)
    with pytest.warns(UserWarning, match=r"\(unit\).* stays floating-point"):
        result = export_tflite(calibrated, path, "int8", verification_data=images)
    assert result.quantization == "int8"
    assert "in floating point" in str(result)
    assert result.outputs[0].kind == "features"


def test_a_file_that_is_not_what_was_asked_for_says_why(images, tmp_path):
    with pytest.warns(UserWarning, match=r"does not end in \.tflite"):
        result = export_tflite(shared_layer(), tmp_path / "m.bin", "dynamic")
    assert result.quantization == "float32"
    assert "asked for dynamic: no weight has the 1,024 elements" in str(result)


def test_weak_proofs_are_told(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model([inputs], [layers.Conv2D(2, 3)(inputs)])  # of lists of one Keras keeps none
    with pytest.warns(UserWarning, match=r"proof is weak: .* measured on 5 diff.*same"):
        export_tflite(model, tmp_path / "m.tflite", "int8", images[:5])
    same = np.repeat(images[:1], 60, axis=0)
    with pytest.warns(UserWarning, match=r"proof is weak: all inputs .* are the same"):
        export_tflite(model, tmp_path / "m.tflite", verification_data=same)
    many = np.random.default_rng(1).standard_normal((120, 8, 8, 3)).astype("float32")
    result = export_tflite(model, tmp_path / "m.tflite", "int8", many)
    assert result.samples == 50


def test_a_quantized_model_that_gives_zeros_has_no_file(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    model.set_weights([1e-20 * w for w in model.get_weights()])
    quantized, _ = calibrate(model, images, verbose=0)
    with pytest.raises(ExportError, match="gives one number for every input"):
        export_tflite(quantized, tmp_path / "m.tflite", "int8", verification_data=images)
    assert list(tmp_path.iterdir()) == []


def one_hot_rows(x):
    bins = layers.Flatten()(layers.Discretization([-0.5, 0.5], output_mode="one_hot")(x))
    return layers.Concatenate()([ops.one_hot(ops.argmax(x, -1), 4), bins, x])


def attention(x):
    y = layers.Reshape((2, 2))(x)
    z = layers.MultiHeadAttention(1, 2)(y, y) + layers.Attention(use_scale=True)([y, y])
    return layers.EinsumDense("abc,cd->abd", output_shape=(2, 3))(z)


def compared(x):
    return ops.cast(x > 0.1, "float32")


@pytest.mark.tensorflow  # for Keras's Discretization
@pytest.mark.parametrize("float_part", [one_hot_rows, attention, compared])
@pytest.mark.parametrize("last", [False, True])
def test_float_parts_of_calibrated_models_read_and_give_what_is_rounded(float_part, last, tmp_path):
    inputs = keras.Input((6,))
    x = float_part(layers.Dense(4)(inputs))
    model = keras.Model(inputs, x if last else layers.Dense(2)(layers.Flatten()(x)))
    data = np.random.default_rng(0).standard_normal((60, 6)).astype("float32")
    quantized, _ = calibrate(model, data, verbose=0)
    path = tmp_path / "m.tflite"
    with pytest.warns(UserWarning, match="stays floating-point"):
        result = export_tflite(quantized, path, "int8", verification_data=data)
    assert result.quantization == "int8"
    assert read_tflite(path).operations["FULLY_CONNECTED"] >= 1


def test_what_is_given_and_read_by_a_float_operation_is_in_the_file(tmp_path):
    """The converter would take the output away from what reads it."""
    inputs = keras.Input((3, 4))
    x, scores = layers.MultiHeadAttention(1, 2)(inputs, inputs, return_attention_scores=True)
    model = keras.Model(inputs, {"scores": scores, "tokens": layers.Dense(3)(x)})
    data = np.random.default_rng(0).standard_normal((60, 3, 4)).astype("float32")
    quantized, _ = calibrate(model, data, verbose=0)
    with pytest.warns(UserWarning, match="stays floating-point"):
        export_tflite(quantized, tmp_path / "m.tflite", "int8", verification_data=data)


def test_names_that_begin_with_no_letter_are_exported(tmp_path):
    """TensorFlow takes no such scope, and left out the names of the file's outputs."""
    inputs = keras.Input((4,), name="_in")
    x = layers.Dense(3, name="_hidden")(inputs)
    model = keras.Model(inputs, [layers.Dense(2, name="-main")(x), layers.Dense(1, name="aux")(x)])
    export_tflite(model, tmp_path / "m.tflite")
    assert set(TFLiteRunner(tmp_path / "m.tflite").output_names) == {"-main", "aux"}


def test_outputs_that_hardly_vary_are_told_apart_from_a_wrong_conversion():
    result = compare_outputs(
        "m.tflite",
        "float32",
        [1 + 1e-5 * np.random.default_rng(0).random((8, 3)).astype("float32")],
        [np.full((8, 3), 1.00001, "float32")],
        None,
        TOLERANCES["float32"],
    )
    assert not result.passed
    assert "outputs hardly vary" in explain_refusal(result, "float32")


@pytest.mark.parametrize("wrap", [True, False])
def test_layer_that_a_wrapper_or_model_shares_is_exported(wrap, tmp_path):
    encoder = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="encoder")
    clip, image = keras.Input((5, 4), name="clip"), keras.Input((4,), name="image")
    inner = keras.Input((5, 4))
    nested = keras.Model(inner, encoder.layers[0](inner), name="nested")
    first = (layers.TimeDistributed(encoder, name="nested") if wrap else nested)(clip)
    model = keras.Model([clip, image], [first, encoder(image)])
    export_tflite(model, tmp_path / "m.tflite")
    assert sorted(TFLiteRunner(tmp_path / "m.tflite").output_names) == ["encoder", "nested"]


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_activations_of_a_fixed_range_beside_others_are_in_integers(activation, images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3, padding="same")(inputs)
    x = layers.Concatenate()([conv, layers.Conv2D(4, 1, activation=activation)(conv)])
    quantized, report = calibrate(keras.Model(inputs, layers.Conv2D(2, 1)(x)), images, verbose=0)
    assert report.complete
    export_tflite(quantized, tmp_path / "m.tflite", "int8", verification_data=images)
    assert read_tflite(tmp_path / "m.tflite").float_tensors == 0


def test_a_relu_that_is_dead_on_the_data_is_exported_in_integers(images, tmp_path):
    """Its scale is near zero, for which LiteRT makes no kernel."""
    inputs = keras.Input((8, 8, 3))
    dead = layers.Conv2D(4, 1, activation="relu", bias_initializer=keras.initializers.Constant(-90))
    x = layers.Concatenate()([dead(inputs), layers.Conv2D(4, 1)(inputs)])
    model = keras.Model(inputs, layers.Conv2D(2, 1)(x))
    quantized, _ = calibrate(model, images, verbose=0)
    path = tmp_path / "m.tflite"
    export_tflite(quantized, path, "int8", verification_data=images)
    assert read_tflite(path).float_tensors == 0
    [outputs] = TFLiteRunner(path).predict(images)
    expected = model.predict(images, verbose=0)
    assert np.abs(outputs - expected).max() < 0.05 * np.ptp(expected)


def test_a_file_that_litert_cannot_run_is_told_by_its_own_name():
    words = "/tmp/.m.part cannot be run by LiteRT: failed to prepare."
    message = r"cannot run the int8 file: failed .* No file was written"
    with pytest.raises(ExportError, match=message), runs_explained("/tmp/.m.part", "int8"):
        raise ValueError(words)


def test_an_infinite_range_has_no_int8_file(images, tmp_path):
    """LiteRT ended the process that ran it, in a network with more layers."""
    inputs = keras.Input((8, 8, 3))
    x = ops.pad(
        layers.Conv2D(4, 3)(inputs), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf
    )
    model = keras.Model(inputs, layers.Flatten()(layers.MaxPooling2D(3, 2)(x)))
    with pytest.raises(ExportError, match=r"range of .*Pad.* is infinite on representative_data"):
        export_tflite(model, tmp_path / "m.tflite", "int8", images)
    assert not list(tmp_path.iterdir())
    export_tflite(model, tmp_path / "m.tflite", verification_data=images)


def test_only_a_small_loss_of_all_is_called_rounding():
    """Of one channel that is wrong it would be untrue."""
    y = np.random.default_rng(0).normal(0, 1, (64, 3)).astype("float32")
    noise = np.random.default_rng(1).normal(0, 2e-5, y.shape).astype("float32")
    y[:, 0] *= 1e-3
    wrong = y.copy()
    wrong[:, 0] = wrong[::-1, 0]
    for z, is_rounding in ((y * (1 + noise), True), (wrong, False)):
        result = compare_outputs("m.tflite", "float32", [y], [z], None, TOLERANCES["float32"])
        assert not result.passed
        assert ("deep network" in explain_refusal(result, "float32")) == is_rounding
