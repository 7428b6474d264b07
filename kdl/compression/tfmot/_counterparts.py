"""Counterparts in tf_keras of a flat graph's layers, and how TF-MOT quantizes them. Data only."""

import typing

DEFAULT, NONE, OUTPUT = "default", "none", "output"


class Counterpart(typing.NamedTuple):
    """The layer of tf_keras that computes what a layer or operation of Keras 3 does.

    Attributes:
        layer: Its class in tf_keras, or `"Operation"` of the worker.
        arguments: Those that both know by the same name.
        others: Dict: argument of tf_keras → name in Keras 3's config, where the names differ.
        fixed: Dict of arguments that Keras 3 has in the class.
        quantize: `"default"`: TF-MOT's own scheme knows the class. `"none"`: it moves numbers, and
            the scale of its input is kept. `"output"`: its output is rounded. None: there is no
            int8 form, so that `prune` and `cluster` take it and `quantize` does not.
    """

    layer: str
    arguments: tuple = ()
    others: dict = {}  # noqa: RUF012
    fixed: dict = {}  # noqa: RUF012
    quantize: str | None = DEFAULT


_CONV = ("strides", "padding", "dilation_rate", "use_bias")
_POOL = ("pool_size", "strides", "padding")
_NORM = ("axis", "momentum", "epsilon", "center", "scale")


def _layer(name, *arguments, **options):
    return Counterpart(name, arguments, **options)


# Class of a layer of Keras 3 → its counterpart. Hard-sigmoid and swish are not in it on purpose:
# tf_keras computes another hard-sigmoid, so that both arrive decomposed.
LAYERS = {
    "Activation": _layer("Activation", "activation", quantize=None),
    "Add": _layer("Add"),
    "AveragePooling2D": _layer("AveragePooling2D", *_POOL),
    "BatchNormalization": _layer("BatchNormalization", *_NORM),
    "Concatenate": _layer("Concatenate", "axis"),
    "Conv2D": _layer("Conv2D", "filters", "kernel_size", "groups", *_CONV),
    "Conv2DTranspose": _layer(
        "Conv2DTranspose", "filters", "kernel_size", "output_padding", *_CONV
    ),
    "Cropping2D": _layer("Cropping2D", "cropping"),
    "Dense": _layer("Dense", "units", "use_bias"),
    "DepthwiseConv2D": _layer("DepthwiseConv2D", "kernel_size", "depth_multiplier", *_CONV),
    "Dropout": _layer("Dropout", "rate", "noise_shape", "seed"),
    "Flatten": _layer("Flatten"),
    "GaussianDropout": _layer("GaussianDropout", "rate", "seed", quantize=NONE),
    "GlobalAveragePooling2D": _layer("GlobalAveragePooling2D", "keepdims"),
    "GlobalMaxPooling2D": _layer("GlobalMaxPooling2D", "keepdims"),
    "MaxPooling2D": _layer("MaxPooling2D", *_POOL),
    "Maximum": _layer("Maximum", quantize=OUTPUT),
    "Minimum": _layer("Minimum", quantize=OUTPUT),
    "Multiply": _layer("Multiply", quantize=OUTPUT),
    "PReLU": _layer("PReLU", "shared_axes", quantize=OUTPUT),
    "Permute": _layer("Permute", "dims"),
    "ReLU": _layer("ReLU", "max_value", "negative_slope", "threshold", quantize=None),
    "Reshape": _layer("Reshape", "target_shape"),
    "Resizing": _layer("Operation", "height", "width", "interpolation", quantize=OUTPUT),
    "SpatialDropout2D": _layer("SpatialDropout2D", "rate"),
    "Subtract": _layer("Subtract", quantize=OUTPUT),
    "UpSampling2D": _layer("UpSampling2D", "size", "interpolation"),
    "ZeroPadding2D": _layer("ZeroPadding2D", "padding"),
}


def _operation(*arguments, quantize=OUTPUT):
    return Counterpart("Operation", arguments, quantize=quantize)


# Class of an operation of `keras.ops` → its counterpart.
OPERATIONS = {
    "Add": _operation(),
    "AveragePool": _operation(*_POOL),
    "Concatenate": _layer("Concatenate", "axis"),
    "Elu": _operation("alpha", quantize=None),
    "ExpandDims": _operation("axis", quantize=NONE),
    "Gelu": _operation("approximate"),
    "GetItem": _operation(quantize=NONE),
    "HardSilu": _operation(),
    "LeakyRelu": _layer("LeakyReLU", others={"alpha": "negative_slope"}),
    "Max": _operation("axis", "keepdims", quantize=NONE),
    "MaxPool": _operation(*_POOL, quantize=NONE),
    "Maximum": _operation(),
    "Mean": _operation("axis", "keepdims"),
    "Minimum": _operation(),
    "Moveaxis": _operation("source", "destination", quantize=NONE),
    "Multiply": _operation(),
    "Pad": _operation("pad_width", "mode", quantize=NONE),
    "Relu": _layer("ReLU"),
    "Relu6": _layer("ReLU", fixed={"max_value": 6.0}),
    "Repeat": _operation("repeats", "axis", quantize=NONE),
    "Reshape": _operation("newshape", quantize=NONE),
    "Resize": _operation("size", "interpolation"),
    "Roll": _operation("shift", "axis", quantize=NONE),
    "Sigmoid": _layer("Activation", fixed={"activation": "sigmoid"}),
    "Softmax": _layer("Softmax", "axis"),
    "Split": _operation("indices_or_sections", "axis", quantize=NONE),
    "Squeeze": _operation("axis", quantize=NONE),
    "Stack": _operation("axis", quantize=NONE),
    "Subtract": _operation(),
    "Swapaxes": _operation("axis1", "axis2", quantize=NONE),
    "Tanh": _layer("Activation", fixed={"activation": "tanh"}),
    "Tile": _operation("repeats", quantize=NONE),
    "Transpose": _operation("axes", quantize=NONE),
    "Unstack": _operation("num", "axis", quantize=NONE),
}

# What becomes one channel's scale and shift where no layer before it can hold it.
AFFINE = ("BatchNormalization", "Normalization", "Rescaling")

# Operations of two tensors that TF-MOT knows as layers of a list.
MERGES = {"Add": LAYERS["Add"], "Multiply": LAYERS["Multiply"]}

# What gives its input.
NOTHING = ("ConvertToTensor", "Copy", "Identity", "StopGradient")

# Layers that TF-MOT's patterns join with a batch norm after them.
TAKES_NORM = ("Conv2D", "Dense", "DepthwiseConv2D")

# What is pruned and clustered.
WITH_KERNEL = ("Conv2D", "Conv2DTranspose", "Dense")

# Activations of tf_keras that compute what Keras 3's of the same name do.
SAME_ACTIVATIONS = ("elu", "exponential", "linear", "selu", "softplus", "softsign")
