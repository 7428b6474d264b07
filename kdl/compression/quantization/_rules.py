"""Rules of int8 quantization, an entry for each kind of operation."""

import keras
import numpy as np

from kdl.compression.quantization._operations import WEIGHTED, is_number

# What changes its input in training alone: of it a file holds nothing.
_TRAINING_ONLY = {
    "ActivityRegularization",
    "AlphaDropout",
    "AugMix",
    "CutMix",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "SpatialDropout1D",
    "SpatialDropout2D",
}

# The output has exactly the scale of the inputs: TFLite moves the integers as they are.
SAME_RANGE = {
    *_TRAINING_ONLY,
    "AveragePool",
    "AveragePooling1D",
    "AveragePooling2D",
    "CenterCrop",
    "Concatenate",
    "ConvertToTensor",
    "Copy",
    "Cropping1D",
    "Cropping2D",
    "ExpandDims",
    "Flatten",
    "GetItem",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "Identity",
    "Max",
    "MaxPool",
    "MaxPooling1D",
    "MaxPooling2D",
    "Maximum",
    "Minimum",
    "Moveaxis",
    "Pad",
    "Permute",
    "Repeat",
    "RepeatVector",
    "Reshape",
    "Resize",
    "Resizing",
    "Roll",
    "Split",
    "Squeeze",
    "Stack",
    "StopGradient",
    "Swapaxes",
    "Take",
    "Tile",
    "Transpose",
    "Unstack",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
}

# Of these, what makes new numbers between those that it reads; the rest only moves numbers.
AVERAGES = {"AveragePool", "AveragePooling1D", "AveragePooling2D"}
INTERPOLATIONS = {"Resize", "Resizing", "UpSampling2D"}

# The output has a range of its own.
OWN_RANGE = {
    *WEIGHTED,
    "Absolute",
    "Add",
    "BatchNormalization",
    "Exp",
    "Flip",
    "Gelu",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "HardSilu",
    "LeakyRelu",
    "Mean",
    "Multiply",
    "PReLU",
    "Relu",
    "Relu6",
    "Sqrt",
    "Subtract",
    "Sum",
}

# The output has the range that TFLite prescribes: 256 steps of 1/256 or 1/128.
FIXED_RANGE = {
    "Sigmoid": (0.0, 255 / 256),
    "Softmax": (0.0, 255 / 256),
    "Tanh": (-1.0, 127 / 128),
}

RELUS = ("Relu", "Relu6")

_SUMS = ("Add", "Subtract")
_NORM = "BatchNormalization"


def reason_for_float(node, after_convolution):
    """Why an operation stays float; None if it has a quantized form.

    Args:
        node: `Node` of a decomposed graph.
        after_convolution: Whether it is a batch norm that folds into the layer before it.
    """
    kind, numbers, tensors = node.kind, _numbers(node), node.inputs
    if kind not in SAME_RANGE | OWN_RANGE | set(FIXED_RANGE):
        return f"no int8 form of {kind} is known"
    if kind in (*_SUMS, "Multiply") and len(node.args) == 2 and len(tensors) + len(numbers) < 2:
        return "an operand is a constant array"
    if kind in ("Maximum", "Minimum") and len(tensors) < 2:
        return "an operand is a constant"
    if kind == "Pad" and node.kwargs.get("constant_values"):
        return "it pads with another number than zero"
    if kind in INTERPOLATIONS:
        return _reason_of_resizing(node.operation)
    if kind == _NORM and not after_convolution:
        return "no layer before it can be folded with it"
    if kind == "Softmax" and node.operation.axis not in (-1, len(tensors[0].shape) - 1):
        return "its axis is not the last"
    return None


def makes_numbers(node):
    """Tell if the output of `node`, which has the scale of its inputs, is rounded anew."""
    bilinear = getattr(node.operation, "interpolation", None) == "bilinear"
    return node.kind in AVERAGES or (node.kind in INTERPOLATIONS and bilinear)


def ties_of(node):
    """Direction in which LiteRT rounds the halves of an operation, as `fake_quantize` takes it."""
    if node.kind in AVERAGES:
        return "away"
    return "up" if node.kind in INTERPOLATIONS else None


def _reason_of_resizing(operation):
    if operation.interpolation not in ("nearest", "bilinear"):
        return f"no int8 form of {operation.interpolation} interpolation is known"
    if getattr(operation, "antialias", False):
        return "no int8 form of an antialiased resizing is known"
    return None


def goes_unrounded(node, consumer):
    """Tell if `consumer`, the only one of `node`'s output, is fused with it."""
    folds = node.kind in (*WEIGHTED, _NORM)
    if consumer.kind in RELUS and node.kind == "Conv2DTranspose":
        return _has_bias(node.operation)
    if consumer.kind in RELUS:
        return folds or node.kind in (*_SUMS, "Multiply")
    adds_number = consumer.kind in _SUMS and bool(_numbers(consumer))
    return folds and (adds_number or consumer.kind == _NORM)


def _has_bias(layer):
    """Tell if a transposed convolution adds a bias: else the converter fuses no ReLU with it."""
    return layer.use_bias and bool(np.any(keras.ops.convert_to_numpy(layer.bias)))


def number_after(node, consumers):
    """The number that is added to what a layer with weights makes, and to nothing else; else 0."""
    consumer, *others = consumers[id(node.results[0])]
    if others or consumer is None or consumer.kind not in _SUMS or not _numbers(consumer):
        return 0.0
    [number] = _numbers(consumer)
    if consumer.kind == "Subtract":
        return 0.0 if is_number(consumer.args[0]) else -number
    return number


def _numbers(node):
    return [x for x in node.args if is_number(x)]
