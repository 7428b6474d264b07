"""int8 files of models that TensorFlow Model Optimization trained."""

from kdl.deploy.conversion import ExportError, check_contents
from kdl.deploy.metadata import write_metadata
from kdl.deploy.runner import TFLiteRunner
from kdl.deploy.signature import INPUT_NAME, output_names
from kdl.deploy.verify import compare_outputs, in_order_of_file, split_labels


def write_and_compare(wrapped, path, input_shape, samples, gates, info=None):
    """Writes the int8 file of a quantised `TFMOTModel`, and compares it with that model.

    Args:
        wrapped: `kdl.compression.tfmot.TFMOTModel`.
        path: File to write.
        input_shape: Static shape of the input, batch included.
        samples: Inputs, or a pair `(inputs, labels)`.
        gates: `Gates`.
        info: `ModelInfo` to keep in the file, or None.

    Returns:
        `Verification`, whose "Keras model" is the quantise-aware model in tf_keras.

    Raises:
        ExportError: If there is no such file, or it holds floating-point numbers.
    """
    inputs, labels = split_labels(samples)
    names = output_names(wrapped.model)
    try:
        content, outputs = wrapped.convert(inputs, input_shape, INPUT_NAME, names)
    except (RuntimeError, ValueError) as error:
        raise ExportError(str(error)) from error
    with open(path, "wb") as file:
        file.write(content)
    check_contents(path)
    if info is not None:
        write_metadata(path, info, wrapped.model.name)
    runner = TFLiteRunner(path)
    expected = in_order_of_file(outputs, wrapped.model, runner)
    return compare_outputs(path, "int8", expected, runner.predict(inputs), labels, gates)
