"""int8 files of models that TensorFlow Model Optimization trained."""

from kdl.data._class_numbers import class_numbers
from kdl.data.model_info import ModelInfo
from kdl.deploy.exporting.conversion import ExportError, check_contents
from kdl.deploy.exporting.signature import output_names
from kdl.deploy.exporting.verify import (
    compare_outputs,
    in_order_of_file,
    inputs_of_file,
    kinds_in_file,
)
from kdl.deploy.runtime.runner import TFLiteRunner
from kdl.deploy.tflite.metadata import write_metadata


def write_and_compare(wrapped, path, shapes, samples, tolerances, info=None):
    """Writes the int8 file of a quantized `TFMOTModel`, and compares it with that model.

    Args:
        wrapped: `kdl.compression.tfmot.TFMOTModel`.
        path: File to write.
        shapes: Dict: name of an input → its static shape, batch included.
        samples: `kdl.data.Samples`.
        tolerances: `Tolerances`.
        info: `ModelInfo` to keep in the file, or None.

    Returns:
        `Verification`, whose "Keras model" is the quantize-aware model in tf_keras.

    Raises:
        ExportError: If there is no such file, or it holds floating-point numbers.
    """
    inputs, labels = samples.inputs, class_numbers(samples.labels)
    names = output_names(wrapped.model)
    try:
        content, outputs = wrapped.convert(inputs, shapes, names)
    except (RuntimeError, ValueError) as error:
        raise ExportError(str(error)) from error
    with open(path, "wb") as file:
        file.write(content)
    check_contents(path, list(shapes), names)
    if info not in (None, ModelInfo()):
        write_metadata(path, info, wrapped.model.name)
    runner = TFLiteRunner(path)
    expected = in_order_of_file(outputs, wrapped.model, runner)
    actual = runner.predict(inputs_of_file(wrapped.model, inputs))
    kinds = kinds_in_file(wrapped.model, runner)
    names, classes = runner.output_names, info and info.labels and len(info.labels)
    return compare_outputs(
        path, "int8", expected, actual, labels, tolerances, names, kinds, classes
    )
