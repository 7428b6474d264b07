import importlib
import os
import resource
import signal

import keras
import numpy as np
import pytest

import kdl
from kdl.compression import calibrate, flatten
from kdl.data import InputSpec, read_model_info
from kdl.deploy import ExportError, export_tflite, read_tflite
from kdl.deploy.exporting.precision import as_float32
from kdl.deploy.exporting.tolerances import Tolerances
from kdl.graph import copy_model

export = importlib.import_module("kdl.deploy.exporting.export")

pytestmark = pytest.mark.export


@pytest.mark.long
@pytest.mark.parametrize("quantization", ["float32", "float16", "dynamic", "int8"])
def test_shufflenet_in_every_form(trained, samples, quantization, tmp_path):
    path = tmp_path / "model.tflite"
    result = export_tflite(
        trained, path, quantization, representative_data=samples[0], verification_data=samples
    )
    summary = read_tflite(path)
    assert result.passed
    assert result.path == str(path)
    assert result.quantization == summary.quantization == quantization
    assert min(result.tflite_accuracy, result.keras_accuracy) >= 0.97
    assert not [name for name in summary.operations if name.startswith(("custom", "FLEX"))]
    assert summary.largest_rank == 4
    kind = "INT8" if quantization == "int8" else "FLOAT32"
    assert summary.inputs == {"image": ((1, 48, 48, 3), kind)}
    assert summary.outputs == {"probabilities": ((1, 10), kind)}
    assert os.listdir(tmp_path) == ["model.tflite"]


@pytest.mark.long
@pytest.mark.parametrize("saved", [False, True])
def test_a_quantised_model_needs_no_data(trained, samples, saved, tmp_path):
    quantized, report = calibrate(trained, samples[0], verbose=0)
    assert report.complete
    if saved:
        quantized.save(tmp_path / "quantized.keras")
        quantized = keras.models.load_model(tmp_path / "quantized.keras")
    path = tmp_path / "model.tflite"
    result = export_tflite(quantized, path, "int8", verification_data=samples)
    assert result.sqnr >= 25
    assert result.top1_agreement >= 0.99
    assert min(result.tflite_accuracy, result.keras_accuracy) >= 0.97
    summary = read_tflite(path)
    assert summary.float_tensors == 0
    assert summary.inputs == {"image": ((1, 48, 48, 3), "INT8")}


MORE_FORMS = [
    pytest.param(form, marks=pytest.mark.long_to_compile) for form in ("float16", "dynamic", "int8")
]


@pytest.mark.every_backend
@pytest.mark.parametrize("form", ["float32", "calibrated", *MORE_FORMS])
def test_a_block_in_every_form(form, images, tmp_path):
    inputs = keras.Input((12, 12, 3))
    x = kdl.layers.InvertedResidual(16)(keras.layers.Conv2D(16, 3)(inputs))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    quantization = "int8" if form == "calibrated" else form
    if form == "calibrated":
        model, _ = calibrate(model, images, verbose=0)
    path = tmp_path / "model.tflite"
    result = export_tflite(model, path, quantization, representative_data=images)
    assert result.passed
    summary = read_tflite(path)
    assert summary.quantization == quantization
    assert {"CONV_2D", "DEPTHWISE_CONV_2D"} <= set(summary.operations)


def test_a_quantised_model_has_one_form(images, tmp_path):
    inputs = keras.Input((12, 12, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    quantized, _ = calibrate(model, images, verbose=0)
    with pytest.raises(ValueError, match='pass quantization="int8"'):
        export_tflite(quantized, tmp_path / "model.tflite")
    # Other data does not change the ranges.
    files = [tmp_path / name for name in ("without.tflite", "with.tflite")]
    export_tflite(quantized, files[0], "int8", verification_data=images)
    export_tflite(quantized, files[1], "int8", representative_data=images / 2)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("last", [False, True])
def test_what_stays_float_is_float_in_the_file(last, images, tmp_path):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Activation("elu")(keras.layers.Conv2D(2, 3)(inputs))
    x = x if last else keras.layers.Conv2D(2, 3)(x)
    quantized, report = calibrate(keras.Model(inputs, x), images, verbose=0)
    assert not report.complete
    path = tmp_path / "model.tflite"
    with pytest.warns(UserWarning, match=r"ELU.* stays floating-point in the int8 file"):
        result = export_tflite(quantized, path, "int8", verification_data=images)
    assert result.sqnr > 25
    operations = read_tflite(path).operations
    assert operations["CONV_2D"] == 2 - last
    assert operations["ELU"] == 1


@pytest.mark.every_backend
def test_mixed_precision_is_exported_as_float32(tmp_path, images):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(x))
    export_tflite(model, tmp_path / "m.tflite", verification_data=images)
    summary = read_tflite(tmp_path / "m.tflite")
    assert set(summary.tensor_types) <= {"FLOAT32", "INT32"}
    assert summary.outputs == {"logits": ((1, 4), "FLOAT32")}
    counterpart = as_float32(model)
    assert {layer.compute_dtype for layer in counterpart.layers} == {"float32"}
    assert as_float32(counterpart) is counterpart


def test_labels_and_input_spec_travel_in_the_file(network, tmp_path):
    path = tmp_path / "m.tflite"
    spec = InputSpec((12, 12), mean=(0.5,) * 3, std=(0.25,) * 3)
    export_tflite(network, path, labels=["a", "b", "c", "d"], input_spec=spec)
    info = read_model_info(path)
    assert info.labels == ["a", "b", "c", "d"]
    assert info.input_spec == spec
    assert read_tflite(path).outputs["probabilities"] == ((1, 4), "FLOAT32")


def test_batch_and_open_input_shape(tmp_path, images):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ValueError, match=r"leaves sizes open.*input_shape="):
        export_tflite(model, tmp_path / "m.tflite")
    export_tflite(
        model, tmp_path / "m.tflite", "int8", images[:7], batch_size=4, input_shape=(12, 12, 3)
    )
    summary = read_tflite(tmp_path / "m.tflite")
    assert summary.inputs == {"image": ((4, 12, 12, 3), "INT8")}
    assert summary.outputs == {"features": ((4, 10, 10, 2), "INT8")}


@pytest.mark.every_backend
def test_several_outputs_keep_their_names(tmp_path, images):
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(2, 3, name="map")(inputs)
    y = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    as_list = keras.Model(inputs, [y, x])
    export_tflite(as_list, tmp_path / "list.tflite", verification_data=images)
    assert set(read_tflite(tmp_path / "list.tflite").outputs) == {"map", "mean"}
    as_dict = keras.Model(inputs, {"vector": y, "grid": x})
    export_tflite(as_dict, tmp_path / "dict.tflite", verification_data=images)
    assert set(read_tflite(tmp_path / "dict.tflite").outputs) == {"vector", "grid"}


@keras.saving.register_keras_serializable("kdl-tests")
class Erf(keras.layers.Layer):
    """TFLite has no built-in operation for this one."""

    def call(self, x):
        return keras.ops.erfinv(x * 0.5)


def test_an_operation_that_tflite_lacks_is_named(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Erf()(inputs))
    with pytest.raises(ExportError, match=r"no built-in operation for .*[Ee]rfinv") as caught:
        export_tflite(model, tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == []


@keras.saving.register_keras_serializable("kdl-tests")
class AddsShapes(keras.layers.Layer):
    """One that takes shapes for tuples, as the heads of Keras Hub's RetinaNet."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=shape[-1:] + (3,), name="kernel")

    def call(self, x):
        return keras.ops.matmul(x, self.kernel)


def test_a_layer_that_is_built_of_tuples(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, AddsShapes()(inputs))
    assert export_tflite(model, tmp_path / "m.tflite").passed


@keras.saving.register_keras_serializable("kdl-tests")
class Forgetful(keras.Model):
    """A model whose config leaves an argument out."""

    def __init__(self, units=4, **kwargs):
        inputs = keras.Input((4,))
        super().__init__(inputs, keras.layers.Dense(units)(inputs), **kwargs)

    def get_config(self):
        return {"name": self.name}


def test_a_model_that_keras_cannot_read_back(tmp_path):
    model = Forgetful(3)
    with pytest.raises(ExportError, match=r"cannot read the model back .*: .*\(4, 3\).*\.flatten"):
        export_tflite(model, tmp_path / "m.tflite")
    export_tflite(flatten(model), tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"do not fit .* also that of the model's class"):
        copy_model(model)


def test_an_unfaithful_file_is_not_left_behind(network, tmp_path, images):
    """Ranges measured on images a thousand times darker clip everything."""
    (tmp_path / "m.tflite").write_bytes(b"earlier")
    with pytest.raises(ExportError, match=r"outputs do not match the model's: .*SQNR"):
        export_tflite(
            network_with_large_logits(),
            tmp_path / "m.tflite",
            "int8",
            representative_data=images / 1000,
            verification_data=images,
        )
    assert os.listdir(tmp_path) == ["m.tflite"]
    assert (tmp_path / "m.tflite").read_bytes() == b"earlier"


@pytest.fixture
def rounding(images):
    """A quantized model whose file takes another step here and there: LiteRT's kernels for leaky
    ReLU multiply by numbers of eight bits."""
    x = inputs = keras.Input((12, 12, 3))
    for _ in range(5):
        x = keras.layers.Conv2D(16, 3, padding="same", activation="leaky_relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    rng = np.random.default_rng(0)  # the same weights on every backend
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    return calibrate(model, images, verbose=0)[0]


@pytest.mark.parametrize(("apart", "passes"), [(12.0, True), (300.0, False)])
def test_a_file_is_held_to_what_the_kernels_leave_open(
    apart, passes, rounding, images, tmp_path, monkeypatch
):
    """A gate that no file meets, and kernels that are some dB apart from each other."""
    monkeypatch.setattr(
        export, "_QUANTIZE_AWARE_TOLERANCES", Tolerances(sqnr=200.0, top1_agreement=0.9)
    )
    monkeypatch.setattr(export, "between_kernels", lambda path, inputs: {"logits": apart})
    path = tmp_path / "model.tflite"
    if passes:
        result = export_tflite(rounding, path, "int8", verification_data=images)
        assert result.tolerances == Tolerances(sqnr=apart, top1_agreement=0.9)
    else:
        with pytest.raises(ExportError, match=r"SQNR [\d.]+ dB is below 200 dB"):
            export_tflite(rounding, path, "int8", verification_data=images)
    assert path.exists() == passes


@pytest.mark.parametrize("apart", [-np.inf, np.nan])
def test_no_file_is_so_open_that_all_passes(apart, rounding, images, tmp_path, monkeypatch):
    """Kernels that have nothing in common do not excuse a file that has nothing of its model."""
    monkeypatch.setattr(export, "_QUANTIZE_AWARE_TOLERANCES", Tolerances(sqnr=200.0))
    monkeypatch.setattr(export, "_LEAST_SQNR", 150.0)
    monkeypatch.setattr(export, "between_kernels", lambda path, inputs: {"logits": apart})
    with pytest.raises(ExportError, match=r"SQNR [\d.]+ dB is below 150 dB"):
        export_tflite(rounding, tmp_path / "m.tflite", "int8", verification_data=images)
    assert os.listdir(tmp_path) == []


def test_a_low_ratio_is_told(rounding, images, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LOW_SQNR", 100.0)
    with pytest.warns(UserWarning, match=r"LiteRT's own kernels are 20.0 dB apart"):
        export_tflite(rounding, tmp_path / "m.tflite", "int8", verification_data=images)


class Counter(keras.layers.Layer):
    """Adds a little more each time that it is called."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False, name="calls")

    def call(self, x):
        self.calls.assign_add(1e-7)
        return x + self.calls


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_file_that_would_keep_a_number_is_refused(quantization, images, tmp_path):
    inputs = keras.Input((12, 12, 3))
    x = Counter(name="counter")(keras.layers.GlobalAveragePooling2D()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    with pytest.raises(ExportError, match=r"one run to the next: ASSIGN_VARIABLE \(counter\)"):
        export_tflite(model, tmp_path / "m.tflite", quantization, representative_data=images)
    assert os.listdir(tmp_path) == []


def test_a_file_of_before_stays_where_an_export_is_refused(images, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"before")
    model = keras.Sequential([keras.Input((12, 12, 3)), Counter()])
    with pytest.raises(ExportError):
        export_tflite(model, path, verification_data=images)
    assert path.read_bytes() == b"before"


def network_with_large_logits():
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, keras.layers.Dense(4, kernel_initializer="ones")(x))


def with_infinity():
    images = np.zeros((4, 12, 12, 3))
    images[2, 3, 4, 1] = -np.inf
    return images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int4"}, "quantization must be one of"),
        ({"quantization": "int8"}, "int8 needs representative_data"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"labels": ["a"]}, "1 labels for a model of 4 classes"),
        ({"input_shape": (8, 8, 3)}, "does not fit the model's"),
        ({"representative_data": np.zeros((4, 8, 8, 3))}, "representative_data must have shape"),
        ({"verification_data": np.zeros((4, 8, 8, 3))}, "verification_data must have shape"),
        ({"verification_data": (np.zeros((4, 12, 12, 3)), [1])}, "4 inputs but 1 labels"),
        ({"representative_data": np.zeros((0, 12, 12, 3))}, "at least one"),
        ({"representative_data": np.full((4, 12, 12, 3), np.nan)}, "representative_data.*sample 0"),
        ({"verification_data": with_infinity()}, "verification_data.*finite.*first in sample 2"),
        (
            {"verification_data": np.full((1, 12, 12, 3), 255), "input_spec": InputSpec((12, 12))},
            r"verification_data spans 255 … 255, but images become 0 … 1 by InputSpec",
        ),
    ],
)
def test_bad_arguments(network, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_tflite(network, tmp_path / "m.tflite", **arguments)
    assert os.listdir(tmp_path) == []


def test_models_that_cannot_be_exported(tmp_path):
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="functional or Sequential"):
        export_tflite(Subclassed(), tmp_path / "m.tflite")


def test_a_model_that_the_converter_cannot_hold(network, tmp_path, monkeypatch):
    size = 4 * sum(np.prod(w.shape) for w in network.get_weights())
    monkeypatch.setattr("kdl.deploy.exporting.signature._MOST_BYTES", size - 1)
    with pytest.raises(ValueError, match="GB of weights in float32"):
        export_tflite(network, tmp_path / "m.tflite")
    assert os.listdir(tmp_path) == []


def test_unwritable_paths(network, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        export_tflite(network, tmp_path / "missing" / "m.tflite")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        export_tflite(network, tmp_path)
    with pytest.raises(OSError, match="Cannot write /proc"):
        export_tflite(network, "/proc/m.tflite")


def test_without_tensorflow(own_process, network, tmp_path, monkeypatch, root):
    monkeypatch.syspath_prepend(str(root / "tests" / "no_tensorflow"))
    with pytest.raises(ImportError, match=r"pip install tensorflow ai-edge-litert"):
        export_tflite(network, tmp_path / "m.tflite")
    assert os.listdir(tmp_path) == []


def test_full_disk(own_process, network, tmp_path):
    """A limit on the size of files stands for the disk; the file here would be larger."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "m.tflite").write_bytes(b"earlier")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, old[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|Cannot write"):
            export_tflite(network, tmp_path / "m.tflite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == ["m.tflite"]
    assert (tmp_path / "m.tflite").read_bytes() == b"earlier"


def test_label_maps_of_bytes_have_names(tmp_path, images):
    inputs = keras.Input((12, 12, 3))
    labels = keras.ops.argmax(keras.layers.Conv2D(3, 1)(inputs), -1)
    model = keras.Model(inputs, keras.ops.cast(labels, "uint8"))
    path = tmp_path / "m.tflite"
    export_tflite(model, path, labels=["sky", "road", "tree"], verification_data=images)
    assert read_model_info(path).labels == ["sky", "road", "tree"]
