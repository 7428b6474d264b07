"""Faults of the conversion, planted in its files: no such file is written, in any form."""

import importlib

import flatbuffers
import keras
import numpy as np
import pytest
from keras import layers, ops

from kdl.deploy import ExportError, export_tflite
from kdl.deploy.exporting.conversion import convert
from kdl.deploy.tflite.file import tflite_schema

pytestmark = [pytest.mark.export, pytest.mark.every_backend]

FORMS = ("float32", "float16", "dynamic", "int8")
SHAPES = dict.fromkeys(("left", "right"), (1, 6, 6, 2))


@pytest.fixture(scope="module")
def network():
    """Features of one shape, boxes and a class, out of two images of one shape."""
    keras.utils.set_random_seed(0)
    inputs = {name: keras.Input(shape[1:], name=name) for name, shape in SHAPES.items()}
    conv, norm = layers.Conv2D(4, 3), layers.BatchNormalization(name="norm")
    heads = [layers.Dense(16), layers.Dense(16), layers.Dense(9)]

    def outputs(left, right, norm=norm):
        x = ops.relu(norm(conv(left))) - 0.5 * conv(right)
        first, second, scores = (head(layers.Flatten()(x)) for head in heads)
        boxes = layers.Reshape((16, 4))(x)
        return {
            "feature_a": first,
            "feature_b": second,
            "boxes": boxes,
            "class_id": ops.argmax(scores, -1),
        }

    model = keras.Model(inputs, outputs(**inputs))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    norm.set_weights([np.ones(4), np.zeros(4), np.full(4, 0.7), np.full(4, 9.0)])
    lost = outputs(**inputs, norm=layers.BatchNormalization())
    scaled = outputs(inputs["left"] / 255, inputs["right"])
    right = model.output
    wrong = {
        "negative": -0.9 * right["feature_b"],
        "constant": ops.zeros_like(right["feature_b"]) + 0.3,
        "next_class": ops.mod(right["class_id"] + 1, 9),
        "without_statistics": lost["boxes"],
        "of_dark_images": scaled["feature_a"],
        "sometimes_nan": right["feature_b"] + ops.log(ops.relu(right["feature_a"][:, :1])) * 0,
    }
    return model, wrong


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    return {
        name: rng.normal(0, scale, (100, 6, 6, 2)).astype("float32")
        for name, scale in (("left", 3), ("right", 1.5))
    }


@pytest.fixture(scope="module")
def files(network, data, tmp_path_factory):
    """Dict: form → content of a file that gives the wrong outputs beside the right ones."""
    model, wrong = network
    folder = tmp_path_factory.mktemp("files")
    paths = {form: folder / f"{form}.tflite" for form in FORMS}
    convert(keras.Model(model.input, {**model.output, **wrong}), paths_of(paths, FORMS[:3]), SHAPES)
    finite = {name: y for name, y in wrong.items() if name != "sometimes_nan"}
    whole = keras.Model(model.input, {**model.output, **finite})
    convert(whole, paths_of(paths, FORMS[3:]), SHAPES, data)
    return {form: path.read_bytes() for form, path in paths.items()}


def paths_of(paths, forms):
    return {form: paths[form] for form in forms}


NAMES = ("feature_a", "feature_b", "boxes", "class_id")
FAULTS = {
    "nothing": {},
    "a wrong output": {"feature_b": "negative"},
    "a constant output": {"feature_b": "constant"},
    "a wrong class": {"class_id": "next_class"},
    "lost statistics": {"boxes": "without_statistics"},
    "another scale of an input": {"feature_a": "of_dark_images"},
    "NaN in an output": {"feature_b": "sometimes_nan"},
    "swapped outputs": {"feature_a": "feature_b", "feature_b": "feature_a"},
    "an output twice": {"feature_a": "feature_b"},
    "a missing output": {"feature_b": None},
    "swapped inputs": {},
}


def planted(content, fault):
    """The file with what a fault names in place of its outputs."""
    schema = tflite_schema()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    [signature] = model.signatureDefs
    places = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    signature.outputs = [entry for entry in signature.outputs if entry.name.decode() in NAMES]
    for entry in list(signature.outputs):
        name = entry.name.decode()
        given = FAULTS[fault].get(name, name)
        if given is None:
            signature.outputs.remove(entry)
        else:
            entry.tensorIndex = places[given]
    if fault == "swapped inputs":
        first, second = signature.inputs
        first.name, second.name = second.name, first.name
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


CASES = [(form, fault) for form in FORMS for fault in FAULTS]
CASES.remove(("int8", "NaN in an output"))  # integers are always finite
MARKS = dict.fromkeys(("float16", "dynamic"), pytest.mark.long_to_compile)


@pytest.mark.parametrize(
    ("form", "fault"),
    [pytest.param(form, fault, marks=MARKS.get(form, ())) for form, fault in CASES],
)
def test_file_with_a_planted_fault_is_refused(
    form, fault, network, data, files, tmp_path, monkeypatch
):
    conversion = importlib.import_module("kdl.deploy.exporting.conversion")

    def run(worker, job):
        [path] = job["targets"].values()
        with open(path, "wb") as file:
            file.write(planted(files[form], fault))

    monkeypatch.setattr(conversion, "_run", run)
    arguments = {"verification_data": data} if form != "int8" else {"representative_data": data}
    path = tmp_path / "m.tflite"
    if fault == "nothing":
        assert export_tflite(network[0], path, form, **arguments).quantization == form
        return
    reason = (
        "gave the file the outputs" if "missing" in fault else "outputs do not match the model's"
    )
    with pytest.raises(ExportError, match=reason) as caught:
        export_tflite(network[0], path, form, **arguments)
    named = [name for name in FAULTS[fault] if f"{name}: " in str(caught.value)]
    assert "missing" in fault or named == list(FAULTS[fault])
    assert list(tmp_path.iterdir()) == []
