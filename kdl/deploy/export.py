"""From a Keras model of any backend to a proven `.tflite` file."""

import dataclasses
import os
import tempfile
import warnings

import numpy as np

from kdl.compression.tfmot import TFMOTModel, strip
from kdl.data.model_info import ModelInfo
from kdl.deploy._tfmot import write_and_compare
from kdl.deploy.atomic import temporary_beside
from kdl.deploy.conversion import ExportError, convert
from kdl.deploy.metadata import write_metadata
from kdl.deploy.precision import as_float32
from kdl.deploy.signature import check_exportable
from kdl.deploy.tflite_file import read_tflite
from kdl.deploy.verify import GATES, Gates, between_kernels, split_labels, verify_tflite
from kdl.layers import FakeQuantize

_QUANTIZATIONS = tuple(GATES)

# Against a model that rounds as its file does.
_QUANTIZE_AWARE_GATES = Gates(sqnr=20.0, top1_agreement=0.95)

# int8 answers below this ratio still pass, but deserve a look.
_LOW_SQNR = 20.0

# Below this ratio a file is wrong, however far LiteRT's kernels are apart on it.
_LEAST_SQNR = 10.0


def export_tflite(
    model,
    path,
    quantization="float32",
    representative_data=None,
    labels=None,
    batch_size=1,
    input_shape=None,
    verification_data=None,
    input_spec=None,
):
    """Writes `model` as a `.tflite` file that is proven to answer like it.

    The model is saved and converted by TensorFlow in a process of its own, so that it may come from
    any backend and one model gives one file. The file takes a static batch under the name `image`
    and gives `probabilities`, `logits` or `features` (several outputs keep their names). It holds
    TFLite's built-in operations only. It is run in the LiteRT interpreter and compared with the
    model before it takes its place at `path`; nothing is left there if that fails.

    - `"float32"`: the network as it is.
    - `"float16"`: weights stored in half the space.
    - `"dynamic"`: weights in int8, activations quantised while running.
    - `"int8"`: all in int8, input and output too; what accelerators want. The ranges of the
      activations are measured on `representative_data`, or are those of a model of
      `kdl.compression.quantize_aware`, `calibrate` or `tfmot.quantize`, which needs no data and has
      only this form. Its file must be as close to it as 20 dB or, with a warning, as LiteRT's own
      kernels are to each other, and 10 dB at least.

    Args:
        model: A built functional or Sequential model with one input, or one that
            `kdl.compression.tfmot` trained.
        path: File to write; its folder must exist.
        quantization: One of the above. Defaults to `"float32"`.
        representative_data: Array `(samples, …)` of inputs as in use, or a pair `(inputs, labels)`;
            needed for int8, where 100 to 500 samples do. A quantised model is only compared on it.
        labels: Class names, kept in the file.
        batch_size: The file's batch. Defaults to 1.
        input_shape: Shape without batch, needed where the model's own leaves sizes open.
        verification_data: Inputs, or a pair `(inputs, labels)`, for the comparison; by default
            `representative_data`, or random numbers if there is none.
        input_spec: `kdl.data.InputSpec` that tells how a picture becomes an input; kept in the
            file, so that `Runner`, `kdl predict` and MediaPipe can take pictures.

    Returns:
        `Verification` of the file.

    Raises:
        ValueError: If an argument is out of range, int8 lacks representative data, data is not
            finite or not in the range that `input_spec` gives, or the model is above 2 GB.
        ExportError: A ValueError: the model has no TFLite form, or the file answers otherwise.
        OSError: If `path` cannot be written (`FileNotFoundError` if its folder does not exist).
        ImportError: If TensorFlow or `ai-edge-litert` is missing.

    Example:
        >>> import keras, kdl, os, tempfile
        >>> x = inputs = keras.Input((8, 8, 3))
        >>> x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
        >>> model = keras.Model(inputs, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = export_tflite(model, os.path.join(folder, "model.tflite"))
        >>> result.passed
        True
    """
    if isinstance(model, TFMOTModel) and model.method != "quantize":
        model = strip(model)
    network = model.model if isinstance(model, TFMOTModel) else model
    quantized = network is not model or _is_quantized(model)
    check_exportable(network)
    _check_arguments(quantization, quantized, representative_data, labels, network, batch_size)
    shape = _static_shape(network, input_shape)
    _check_spec(input_spec, shape)
    representative = _inputs(representative_data, shape, input_spec, "representative_data")
    _inputs(verification_data, shape, input_spec, "verification_data")
    check_writable(path)

    info = None if labels is None and input_spec is None else ModelInfo(labels, input_spec)
    samples = _samples(verification_data, representative, shape)
    gates = _QUANTIZE_AWARE_GATES if quantized else None
    with temporary_beside(path) as draft:
        if network is not model:
            result = write_and_compare(model, draft, (batch_size, *shape), samples, gates, info)
        else:
            model = as_float32(model)
            unknown_ranges = None if quantized else representative
            convert(model, {quantization: draft}, (batch_size, *shape), unknown_ranges)
            if info is not None:
                write_metadata(draft, info, model.name)
            result = verify_tflite(draft, model, samples, gates)
        if quantization == "int8":
            _check_integers(draft, quantized)
        if quantized and not result.passed:
            result = _held_to_kernels(result, draft, split_labels(samples)[0])
        if not result.passed:
            raise ExportError(_explain(result, quantization))
        if quantization == "int8" and result.sqnr < _LOW_SQNR:
            warnings.warn(_explain_low(result, quantized), stacklevel=2)
        os.replace(draft, path)
    return _renamed(result, path)


def check_writable(path):
    """Raises OSError, before long work is done, if no file can be written at `path`."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"Cannot write {path}: the folder {folder} does not exist.")
    if os.path.isdir(path):
        raise IsADirectoryError(f"Cannot write {path}: it is a folder; give a file name.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise type(error)(error.errno, f"Cannot write {path}: {error.strerror}.") from error


def _check_arguments(quantization, quantized, representative_data, labels, model, batch_size):
    if quantization not in _QUANTIZATIONS:
        raise ValueError(
            f"quantization must be one of {_QUANTIZATIONS}; received {quantization!r}."
        )
    if quantized and quantization != "int8":
        raise ValueError(
            f"The model rounds as an int8 file does, so that is the only form that it has: pass "
            f'quantization="int8"; received {quantization!r}.'
        )
    if quantization == "int8" and not quantized and representative_data is None:
        raise ValueError(
            "int8 needs representative_data: some 100 inputs as the model will see them, from "
            "which the ranges of the activations are measured."
        )
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer; received {batch_size!r}.")
    classes = model.outputs[0].shape[-1]
    if labels is not None and len(labels) != classes:
        raise ValueError(f"Received {len(labels)} labels for a model of {classes} classes.")


def _is_quantized(model):
    """Whether the model rounds its activations itself."""
    return any(
        isinstance(layer, FakeQuantize) or (hasattr(layer, "layers") and _is_quantized(layer))
        for layer in model.layers
    )


def _check_integers(path, quantized):
    """Raises ExportError, or warns if the model itself keeps a part in floating point."""
    summary = read_tflite(path)
    if not summary.float_tensors:
        return
    text = (
        f"{summary.float_tensors} tensors stay floating-point in the int8 file; its operations are "
        f"{dict(summary.operations)}."
    )
    if not quantized:
        raise ExportError(f"{text} One of them has no int8 form.")
    warnings.warn(
        f"{text} The report of quantize_aware or calibrate says which of the model's and why. An "
        f"accelerator for integers runs the file in part.",
        stacklevel=3,
    )


def _static_shape(model, input_shape):
    own = tuple(model.inputs[0].shape[1:])
    shape = own if input_shape is None else tuple(input_shape)
    fits = len(shape) == len(own) and all(a in (None, b) for a, b in zip(own, shape, strict=True))
    if not fits:
        raise ValueError(f"input_shape={shape} does not fit the model's {own}.")
    if None in shape:
        raise ValueError(
            f"The model leaves sizes open: {own}. A file has one size: pass input_shape=, "
            f"for instance input_shape=(224, 224, 3)."
        )
    return shape


def _check_spec(spec, shape):
    if spec is not None and (*spec.size, spec.channels) != shape:
        raise ValueError(
            f"input_spec describes pictures of shape {(*spec.size, spec.channels)}; the model "
            f"takes {shape}."
        )


def _inputs(data, shape, spec, argument):
    """The inputs of `data`; None if there is none."""
    if data is None:
        return None
    inputs, _ = split_labels(data)
    if tuple(inputs.shape[1:]) != shape:
        raise ValueError(
            f"{argument} must have shape (samples, {', '.join(map(str, shape))}); received "
            f"{tuple(inputs.shape)}."
        )
    finite = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{argument} holds values that are not finite (NaN or infinite), first in sample "
            f"{int(np.argmin(finite))}."
        )
    if spec is not None:
        _check_range(inputs, spec, argument)
    return inputs


def _check_range(inputs, spec, argument):
    """Raises ValueError if `inputs` are outside of what pictures become by `spec`."""
    black, white = (spec.normalize(np.full(spec.channels, byte, "uint8")) for byte in (0, 255))
    low, high = float(black.min()), float(white.max())
    margin = 0.01 * (high - low)
    if inputs.min() < low - margin or inputs.max() > high + margin:
        raise ValueError(
            f"{argument} spans {inputs.min():.4g} … {inputs.max():.4g}, but pictures become "
            f"{low:.4g} … {high:.4g} by input_spec: pass what input_spec.load or normalize gives."
        )


def _samples(verification_data, representative, shape):
    if verification_data is not None:
        return verification_data
    if representative is not None:
        return representative
    return np.random.default_rng(0).standard_normal((8, *shape)).astype("float32")


def _explain(result, quantization):
    advice = {
        "int8": "Was the model trained, or its batch normalisation run on data? Does "
        "representative_data look like the inputs in use?",
        "float32": "This is a defect of the conversion: please report it with the model.",
    }
    default = "Compare with float32 to see what the smaller form costs."
    return (
        f"The {quantization} file does not answer like the model: {'; '.join(result.failures)}. "
        f"{advice.get(quantization, default)} No file was written."
    )


def _held_to_kernels(result, path, inputs):
    """The result beside a gate that LiteRT's own kernels pass, where they miss the usual one."""
    open_anyway = max(between_kernels(path, inputs), _LEAST_SQNR)
    sqnr = min(result.gates.sqnr, open_anyway)
    return dataclasses.replace(result, gates=dataclasses.replace(result.gates, sqnr=sqnr))


def _explain_low(result, quantized):
    text = (
        f"The int8 file is faithful only to {result.sqnr:.1f} dB; above {_LOW_SQNR:.0f} dB is "
        f"usual."
    )
    if not quantized:
        return f"{text} More representative data may help."
    return (
        f"{text} LiteRT's own kernels are {result.gates.sqnr:.1f} dB apart on it: so deep a "
        f"network rounds too often for answers that are closer."
    )


def _renamed(result, path):
    return type(result)(**{**vars(result), "path": os.fspath(path)})
