"""Names under which a `.tflite` file takes its input and gives its outputs."""

import math

import keras

INPUT_NAME = "image"

# Of a message of TensorFlow's, through which every converted model goes as float32.
_MOST_BYTES = 2**31 - 1


def output_names(model):
    """Names of the model's outputs, in the order of its flattened outputs.

    One output is called `probabilities` if it ends in softmax or sigmoid, `logits` if it is a row
    of numbers, and `features` otherwise. Several keep the keys or layer names they have.

    Args:
        model: A functional or sequential model.
    """
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        return sorted(model.output)
    if len(model.outputs) > 1:
        return list(model.output_names)
    if _ends_in_probabilities(model):
        return ["probabilities"]
    return ["logits" if len(model.outputs[0].shape) == 2 else "features"]


def check_exportable(model):
    """Raises ValueError unless `model` has a graph, one input, and no more than 2 GB of weights."""
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            f"Expected a built functional or Sequential keras.Model; received "
            f"{type(model).__name__}. Wrap it: keras.Model(inputs, model(inputs))."
        )
    if len(model.inputs) != 1:
        raise ValueError(f"Expected a model with one input; {model.name} has {len(model.inputs)}.")
    size = 4 * sum(math.prod(variable.shape) for variable in model.variables)
    if size > _MOST_BYTES:
        raise ValueError(
            f"{model.name} has {size / 1e9:.2f} GB of weights in float32; TensorFlow's converter "
            f"takes 2.14. Export a smaller model, or its parts one by one."
        )


def _ends_in_probabilities(model):
    last = model
    while isinstance(last, keras.Model):
        last = _last_operation(last)
    if type(last).__name__ in ("Softmax", "Sigmoid"):  # the layers, or keras.ops
        return True
    activation = getattr(last, "activation", None)
    return activation in (keras.activations.softmax, keras.activations.sigmoid)


def _last_operation(model):
    if isinstance(model, keras.Sequential):
        return model.layers[-1]
    name = model.output_names[0]
    return next(operation for operation in model.operations if operation.name == name)
