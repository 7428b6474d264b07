"""Models with several inputs: the file, its proof and its runner match them by name."""

import importlib
import json
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from kdl.compression import calibrate
from kdl.data import (
    ArrayDataset,
    InputSpec,
    ModelInfo,
    Samples,
    read_model_info,
    set_model_info,
)
from kdl.deploy import (
    ExportError,
    ImageClassifier,
    TFLiteRunner,
    export_tflite,
    read_tflite,
    verify_tflite,
    write_sidecar,
)
from kdl.deploy.exporting._data import read_export_data
from kdl.deploy.exporting.signature import input_names, named_inputs
from kdl.deploy.tflite.metadata import read_metadata

SPEC = InputSpec((8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)


def siamese():
    """One encoder for two images; which is which matters."""
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(image))
    encoder = keras.Model(image, x, name="encoder")
    return keras.Model([right, left], layers.Dense(3)(encoder(left) - 0.5 * encoder(right)))


def ranks():
    """An image, a row of numbers, one number and integers."""
    inputs = {
        "image": keras.Input((8, 8, 3), name="image"),
        "age": keras.Input((1,), name="age"),
        "row": keras.Input((3,), name="row"),
        "tokens": keras.Input((5,), name="tokens", dtype="int32"),
    }
    parts = [
        layers.GlobalAveragePooling2D()(inputs["image"]),
        layers.Flatten()(layers.Embedding(7, 2)(inputs["tokens"])),
        inputs["row"],
        inputs["age"],
    ]
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(parts)))


def nested():
    """Dictionaries in one another, with their keys in no order."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    gain = keras.Input((4,), name="gain")
    inputs = {"pair": {"right": b, "left": a}, "gain": gain}
    return keras.Model(inputs, layers.Dense(3)((a - 0.3 * b) * gain))


def states():
    """The states of a recurrent layer come in and go out."""
    x = keras.Input((3, 4), name="x")
    h, c = keras.Input((5,), name="h"), keras.Input((5,), name="c")
    lstm = layers.LSTM(5, return_state=True, unroll=True, name="lstm")
    return keras.Model([x, [h, c]], lstm(x, initial_state=[h, c]))


MODELS = {
    siamese: {"left": ((1, 8, 8, 3), "FLOAT32"), "right": ((1, 8, 8, 3), "FLOAT32")},
    ranks: {
        "image": ((1, 8, 8, 3), "FLOAT32"),
        "age": ((1, 1), "FLOAT32"),
        "row": ((1, 3), "FLOAT32"),
        "tokens": ((1, 5), "INT32"),
    },
    nested: dict.fromkeys(("pair_right", "pair_left", "gain"), ((1, 4), "FLOAT32")),
    states: {"x": ((1, 3, 4), "FLOAT32"), "h": ((1, 5), "FLOAT32"), "c": ((1, 5), "FLOAT32")},
}


def made_up(model, count=60):
    """Arrays as the model takes them; each input has a range of its own."""
    rng = np.random.default_rng(0)
    scales = iter(range(1, 9))

    def draw(x):
        shape = (count, *x.shape[1:])
        if x.dtype == "int32":
            return rng.integers(0, 7, shape).astype("int32")
        return (rng.standard_normal(shape) * next(scales)).astype("float32")

    return keras.tree.map_structure(draw, model.input)


OTHERS = [make for make in MODELS if make is not siamese]


@pytest.mark.every_backend
@pytest.mark.export
@pytest.mark.parametrize(
    "make", [siamese, *(pytest.param(m, marks=pytest.mark.long_to_compile) for m in OTHERS)]
)
def test_every_input_is_in_the_file_under_its_name(make, tmp_path):
    model, path = make(), tmp_path / "m.tflite"
    data = made_up(model)
    assert export_tflite(model, path).passed
    assert export_tflite(model, path, verification_data=data).samples == 60
    assert read_tflite(path).inputs == MODELS[make]
    runner = TFLiteRunner(path)
    named = named_inputs(model, data)
    assert sorted(runner.input_names) == sorted(named)
    expected = keras.tree.flatten(model.predict(data, verbose=0))
    for shape, y in zip(runner.output_shapes, runner.predict(named), strict=True):
        assert y.shape[1:] == shape[1:]
        assert min(np.abs(y - z).max() for z in expected if z.shape == y.shape) < 1e-4


@pytest.mark.export
@pytest.mark.parametrize("form", ["float16", "dynamic", "int8", "calibrated"])
def test_every_form_has_every_input(form, tmp_path):
    model, path = siamese(), tmp_path / "m.tflite"
    data = made_up(model)
    if form == "calibrated":
        model, report = calibrate(model, data, verbose=0)
        assert report.complete
    kind = "int8" if form == "calibrated" else form
    result = export_tflite(model, path, kind, data, verification_data=made_up(model, 50))
    assert result.passed
    dtype = "INT8" if kind == "int8" else "FLOAT32"
    assert {kind for _, kind in read_tflite(path).inputs.values()} == {dtype}
    # A range for each: that of one is twice that of the other.
    if kind == "int8":
        scales = {
            name: details["quantization"][0]
            for name, details in TFLiteRunner(path)._graph.inputs.items()
        }
        assert scales["left"] == pytest.approx(2 * scales["right"], rel=0.3)


@pytest.mark.export
def test_int8_of_integers_and_rows(tmp_path):
    model, path = ranks(), tmp_path / "m.tflite"
    data = made_up(model, 120)
    result = export_tflite(model, path, "int8", (data, np.arange(120) % 2), labels=["no", "yes"])
    assert result.samples == 50
    assert result.keras_accuracy is not None
    dtypes = {name: dtype for name, (_, dtype) in read_tflite(path).inputs.items()}
    assert dtypes == {"image": "INT8", "age": "INT8", "row": "INT8", "tokens": "INT32"}
    assert read_model_info(path).labels == ["no", "yes"]


@pytest.mark.export
def test_swapped_and_lost_inputs_are_refused(tmp_path, monkeypatch):
    conversion = importlib.import_module("kdl.deploy.exporting.conversion")
    model, path = siamese(), tmp_path / "m.tflite"
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "input_names", lambda model: input_names(model)[::-1])
        with pytest.raises(ExportError, match="outputs do not match the model's"):
            export_tflite(model, path)
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "input_paths", lambda model: [("1",), ("0",)])
        with pytest.raises(ExportError, match="outputs do not match the model's"):
            export_tflite(model, path)
    with monkeypatch.context() as patch:
        summary = read_tflite
        patch.setattr(conversion, "read_tflite", lambda path: lost(summary(path), "left"))
        with pytest.raises(ExportError, match=r"inputs \['right'\] where .* \['left', 'right'\]"):
            export_tflite(model, path)
    assert list(tmp_path.iterdir()) == []
    export_tflite(model, path)
    exchanged = keras.Model(model.input[::-1], model(model.input[::-1]))
    assert input_names(exchanged) == ["left", "right"]
    assert not verify_tflite(path, exchanged, made_up(exchanged)).passed
    with pytest.raises(ValueError, match=r"takes inputs .*'left'.*; received \['x', 'h', 'c'\]"):
        verify_tflite(path, states(), made_up(states()))


def lost(summary, name):
    del summary.inputs[name]
    return summary


@pytest.mark.export
def test_an_input_that_nothing_reads_stays_in_the_file(tmp_path):
    a, b = keras.Input((4,), name="a"), keras.Input((2,), name="b")
    model, path = keras.Model([b, a], layers.Dense(2)(a)), tmp_path / "m.tflite"
    for form in ("float32", "int8"):
        export_tflite(model, path, form, made_up(model))
        shapes = {name: shape for name, (shape, _) in read_tflite(path).inputs.items()}
        assert shapes == {"a": (1, 4), "b": (1, 2)}


@pytest.mark.export
def test_weak_proofs_of_several_inputs_are_told(tmp_path):
    model, path = siamese(), tmp_path / "m.tflite"
    x = made_up(model)[0]
    with pytest.warns(UserWarning, match="proof is weak: the inputs right and left are alike"):
        export_tflite(model, path, verification_data=[x, x])
    with pytest.warns(UserWarning, match="proof is weak: the input left is the same in all"):
        export_tflite(model, path, verification_data=[x, 0 * x])


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (siamese, ["right", "left"]),
        (ranks, ["age", "image", "row", "tokens"]),
        (nested, ["gain", "pair_left", "pair_right"]),
        (states, ["x", "h", "c"]),
    ],
)
def test_names_of_inputs(make, names):
    model = make()
    found = input_names(model)
    assert (sorted(found) if make is nested else found) == names
    for name, array in named_inputs(model, made_up(model)).items():
        place = found.index(name)
        assert array.shape[1:] == model.inputs[place].shape[1:]
    loaded = keras.Model.from_config(model.get_config())
    assert sorted(input_names(loaded)) == sorted(names)


def named(keys, **arguments):
    """A model that takes a dictionary with these keys, whatever its input layers are called."""
    tensors = [keras.Input((4,), name=f"layer_{place}") for place in range(len(keys))]
    total = sum((place + 1) * x for place, x in enumerate(tensors))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "When providing `inputs` as a dict")
        return keras.Model(dict(zip(keys, tensors, strict=True)), layers.Dense(2)(total))


@pytest.mark.export
@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["a/b", "image", "dense 1"], ["a/b", "image", "dense_1"]),
        (["a b", "a_b", "a"], ["a", "a_b_0", "a_b_1"]),
        (["größe", "выход", "вход"], ["groe", "input_0", "input_1"]),
        ([10, 2], ["input_10", "input_2"]),
        (["A", "a"], ["A_0", "a_1"]),
        (["_x", "-y", "/z//z/"], ["x", "y", "z/z"]),
        (["logits", "args_0"], ["args_0", "logits"]),
    ],
)
@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_names_of_any_kind(keys, names, tmp_path):
    model, path = named(keys), tmp_path / "m.tflite"
    assert sorted(input_names(model)) == sorted(names)
    export_tflite(model, path)
    assert sorted(read_tflite(path).inputs) == sorted(names)
    # Keras saves keys as text.
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert verify_tflite(path, loaded, made_up(loaded)).passed


ONE = {
    "list": lambda x: [x],
    "dict": lambda x: {"a": x},
    "nested": lambda x: {"b": {"a": x}},
}


@pytest.mark.export
@pytest.mark.parametrize("form", ONE)
def test_one_input_in_a_list_or_a_dictionary_is_called_image(form, tmp_path):
    x, path = keras.Input((4,), name="a"), tmp_path / "m.tflite"
    model = keras.Model(ONE[form](x), layers.Dense(2)(x))
    array = made_up(model)
    [values] = keras.tree.flatten(array)
    export_tflite(model, path, "int8", array)
    assert read_tflite(path).inputs == {"image": ((1, 4), "INT8")}
    y = np.arange(60) % 2
    results = [
        verify_tflite(path, model, data)
        for data in (values, array, {"a": values}, (values, y), (array, y), [(array, y)])
    ]
    assert {result.sqnr for result in results} == {results[0].sqnr}
    quantized, _ = calibrate(model, array, verbose=0)
    assert export_tflite(quantized, path, "int8", verification_data=(array, y)).passed


def as_tf_data(x, y):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(8)


def as_data_loader(x, y):
    torch = pytest.importorskip("torch")
    rows = [(keras.tree.map_structure(lambda a, i=i: a[i], x), y[i]) for i in range(len(y))]
    return torch.utils.data.DataLoader(rows, batch_size=8)


def batches(x, y):
    return [
        (keras.tree.map_structure(lambda a, s=s: a[s : s + 8], x), y[s : s + 8])
        for s in range(0, len(y), 8)
    ]


FORMS = {
    "pair": lambda x, y: (x, y),
    "batches": batches,
    "generator": lambda x, y: iter(batches(x, y)),
    "function": lambda x, y: lambda: batches(x, y),
    "tf.data": as_tf_data,
    "DataLoader": as_data_loader,
    "samples": lambda x, y: Samples(x, y),
}
STRUCTURES = {
    "dict": lambda right, left: {"right": right, "left": left},
    "dict with more": lambda right, left: {"left": left, "a": 0 * left, "right": right},
    "tuple": lambda right, left: (right, left),
}


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_is_read(form, structure):
    model = siamese()
    right, left = made_up(model, 20)
    data, y = STRUCTURES[structure](right, left), np.arange(20) % 3
    found = read_export_data(model, None, None, None, FORMS[form](data, y), None)
    for samples in (found.representative, found.verification):
        for x, expected in zip(samples.inputs, (right, left), strict=True):
            np.testing.assert_array_equal(x, expected)
        np.testing.assert_array_equal(samples.labels, y)
    for alone in (data, [data], ([*data] if structure == "tuple" else dict(data))):
        samples = read_export_data(model, None, None, None, alone, None).representative
        np.testing.assert_array_equal(samples.inputs[1], left)
        assert samples.labels is None
    quantized, _ = calibrate(model, FORMS[form](data, y), verbose=0)
    expected, _ = calibrate(model, [right, left], verbose=0)
    for one, other in zip(quantized.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lambda a, b: a, r"data must hold the inputs \[\(8, 8, 3\), .* Received an array"),
        (lambda a, b: (a, b, b), "Received a tuple of 3"),
        (lambda a, b: [a, b, b], "Received an array"),
        (lambda a, b: {"left": a, "image": b}, r"a dictionary of \['image', 'left'\]"),
        (lambda a, b: [a, b[:9]], "the input left: Received 9 samples; others have 20"),
        (lambda a, b: [a, b[:, :4]], r"input left must have shape \(samples, 8, 8, 3\); received"),
        (lambda a, b: ([a, b], np.arange(3)), "20 inputs but 3 labels"),
        (lambda a, b: [a, np.where(b > 3, np.nan, b)], "input left holds values that are not fin"),
        (lambda a, b: ArrayDataset(a, np.arange(20)), "must hold the inputs"),
    ],
)
def test_data_that_does_not_fit_is_named(data, message):
    right, left = made_up(siamese(), 20)
    with pytest.raises(ValueError, match=message):
        read_export_data(siamese(), None, None, None, data(right, left), None)


def open_sizes():
    inputs = {
        "image": keras.Input((None, None, 3), name="image"),
        "row": keras.Input((None, 2), name="row"),
    }
    image = layers.GlobalMaxPooling2D()(inputs["image"])
    parts = [image, layers.GlobalMaxPooling1D()(inputs["row"])]
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(parts)))


@pytest.mark.export
def test_open_sizes_take_a_shape_for_each_input(tmp_path):
    model, path = open_sizes(), tmp_path / "m.tflite"
    with pytest.raises(ValueError, match=r"sizes open: .*'row': \(None, 2\).*input_shape=\{"):
        export_tflite(model, path)
    for wrong in ((8, 8, 3), {"image": (8, 8, 3)}, [(8, 8, 3)]):
        with pytest.raises(ValueError, match="expected a shape for each of"):
            export_tflite(model, path, input_shape=wrong)
    with pytest.raises(ValueError, match=r"does not fit the model's \(None, 2\)"):
        export_tflite(model, path, input_shape={"image": (8, 8, 3), "row": (5, 3)})
    for shape in ({"row": (5, 2), "image": (8, 6, 3)}, [(8, 6, 3), (5, 2)]):
        export_tflite(model, path, input_shape=shape, batch_size=2)
        shapes = {name: shape for name, (shape, _) in read_tflite(path).inputs.items()}
        assert shapes == {"image": (2, 8, 6, 3), "row": (2, 5, 2)}
    with pytest.raises(ValueError, match=r"sizes open: .*'row'"):
        export_tflite(model, path, input_spec=SPEC)


@pytest.mark.export
def test_an_input_specification_is_of_the_one_image(tmp_path):
    model, path = ranks(), tmp_path / "m.tflite"
    export_tflite(model, path, input_spec=SPEC)
    assert read_model_info(path).input_spec == SPEC
    sidecar = json.loads(Path(write_sidecar(path)).read_text())
    assert [x["name"] for x in sidecar["inputs"] if "mean" in x] == ["image"]
    described = read_metadata(path)["subgraph_metadata"][0]["input_tensor_metadata"]
    assert [x["name"] for x in described if "content" in x] == ["image"]
    with pytest.raises(ValueError, match=r"takes 4 inputs, \[.*'tokens'.* Use TFLiteRunner"):
        ImageClassifier(path)
    data = made_up(model)
    with pytest.raises(ValueError, match=r"verification_data spans .* by InputSpec"):
        export_tflite(model, path, input_spec=SPEC, verification_data=data)
    with pytest.raises(ValueError, match=r"images of shape \(8, 8, 3\); .* leave input_spec out"):
        export_tflite(siamese(), path, input_spec=SPEC)
    remembering = siamese()
    set_model_info(remembering, ModelInfo(None, SPEC))
    export_tflite(remembering, path)
    assert read_model_info(path) == ModelInfo()
