"""ShuffleNet V2 (arXiv 1807.11164)."""

import keras

from kdl.applications.application import Application, classifier_head, image_input
from kdl.applications.weights.source import WeightSource
from kdl.layers.shuffle_unit_v2 import ShuffleUnitV2
from kdl.ops.channels import channel_axis

_STEM = 24
_UNITS = (4, 8, 4)

# alpha → widths of stages 2, 3, 4 and of the last convolution (paper, table 5).
_WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}

_URL = "https://download.pytorch.org/models/"
_LICENCE = "BSD-3-Clause (torchvision)"

IMAGENET = {
    0.5: WeightSource(
        name="shufflenetv2_x0.5-f707e7126e.pth",
        url=_URL + "shufflenetv2_x0.5-f707e7126e.pth",
        sha256="f707e7126e",
        parameters=1_366_792,
        top1=60.552,
        licence=_LICENCE,
    ),
    1.0: WeightSource(
        name="shufflenetv2_x1-5666bf0f80.pth",
        url=_URL + "shufflenetv2_x1-5666bf0f80.pth",
        sha256="5666bf0f80",
        parameters=2_278_604,
        top1=69.362,
        licence=_LICENCE,
    ),
    1.5: WeightSource(
        name="shufflenetv2_x1_5-3c479a10.pth",
        url=_URL + "shufflenetv2_x1_5-3c479a10.pth",
        sha256="3c479a10",
        parameters=3_503_624,
        top1=72.996,
        licence=_LICENCE,
        resize=232,
    ),
    2.0: WeightSource(
        name="shufflenetv2_x2_0-8be3c8ee.pth",
        url=_URL + "shufflenetv2_x2_0-8be3c8ee.pth",
        sha256="8be3c8ee",
        parameters=7_393_996,
        top1=76.230,
        licence=_LICENCE,
        resize=232,
    ),
}


@keras.saving.register_keras_serializable("kdl")
class ShuffleNetV2(Application):
    """ShuffleNet V2: a classifier for phones, and a backbone.

    Stem 3×3/2 and max-pool, three stages of `ShuffleUnitV2` (4, 8 and 4 units, the first of each
    with stride 2), 1×1 convolution, global average, classifier.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        alpha: Width multiplier: 0.5, 1.0 (default), 1.5 or 2.0.
        variant: `"torchvision"` (default) or `"megvii"` (the authors' code, whose multiply-adds
            are those of the paper). See `kdl.layers.ShuffleUnitV2`.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (torchvision's weights), or the path of a
            `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        input_tensor: A `keras.Input` to build on.
        input_shape: Shape without batch. Defaults to `(224, 224, 3)`; `(None, None, 3)` without
            top.
        pooling: Without top: None (default), `"avg"` or `"max"`.
        classes: Number of classes. Defaults to 1000.
        classifier_activation: Activation of the classifier, `"softmax"` by default; None gives
            logits.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model; by default it tells the variant.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: ShuffleNet V2 (arXiv 1807.11164), table 5.

    Example:
        >>> model = ShuffleNetV2(0.5, input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        alpha=1.0,
        variant="torchvision",
        padding="symmetric",
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        dtype=None,
        data_format=None,
        name=None,
    ):
        if alpha not in _WIDTHS:
            raise ValueError(f"alpha must be one of {sorted(_WIDTHS)}; received {alpha!r}.")
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        data_format = data_format or keras.config.image_data_format()
        inputs = image_input(input_tensor, input_shape, include_top, data_format)
        common = {"padding": padding, "data_format": data_format, "dtype": policy}
        pyramid = _features(inputs, _WIDTHS[alpha], variant, common)
        outputs = classifier_head(
            pyramid["P5"],
            include_top,
            pooling,
            classes,
            classifier_activation,
            data_format,
            dropout=0.2 if variant == "megvii" and alpha == 2.0 else 0.0,
            use_bias=variant == "torchvision",
        )
        arguments = {
            "alpha": alpha,
            "variant": variant,
            "padding": padding,
            "include_top": include_top,
            "input_shape": tuple(inputs.shape[1:]),
            "pooling": pooling,
            "classes": classes,
            "classifier_activation": keras.activations.serialize(
                keras.activations.get(classifier_activation)
            ),
            "dtype": policy.name,
            "data_format": data_format,
        }
        super().__init__(inputs, outputs, pyramid, arguments, name or _name(alpha, variant))
        self.load_initial_weights(weights, IMAGENET[alpha] if variant == "torchvision" else None)

    @staticmethod
    def preprocess_input(images, variant="torchvision", data_format=None):
        """Scales RGB images of 0…255 as the published weights expect them.

        torchvision: `(x / 255 − mean) / std` per channel. Megvii: channels in BGR order, 0…255.

        Args:
            images: Array or tensor of RGB images, values 0…255; it is not changed.
            variant: `"torchvision"` (default) or `"megvii"`.
            data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

        Returns:
            Float images of the same shape.

        Example:
            >>> import numpy as np
            >>> white = np.full((1, 1, 1, 3), 255, "uint8")
            >>> [round(float(v), 2) for v in ShuffleNetV2.preprocess_input(white).ravel()]
            [2.25, 2.43, 2.64]
        """
        data_format = data_format or keras.config.image_data_format()
        if variant == "torchvision":
            images = images.copy() if hasattr(images, "copy") else images
            return keras.applications.imagenet_utils.preprocess_input(
                images, data_format=data_format, mode="torch"
            )
        if variant != "megvii":
            raise ValueError(f'variant must be "torchvision" or "megvii"; received {variant!r}.')
        return keras.ops.flip(keras.ops.cast(images, "float32"), axis=channel_axis(data_format))

    @staticmethod
    def decode_predictions(predictions, top=5):
        """Names ImageNet's classes: a list per image of `(WordNet id, name, score)`, best first.

        Args:
            predictions: Array `(batch, 1000)`.
            top: How many classes to give. Defaults to 5.

        Raises:
            ValueError: If there are not 1000 classes.
        """
        return keras.applications.imagenet_utils.decode_predictions(predictions, top=top)

    def torch_names(self):
        """Dict: path of each layer with weights → name of its module in the PyTorch reference."""
        megvii = self.get_config()["variant"] == "megvii"
        stem, head, classifier = (
            ("first_conv", "conv_last", "classifier.0") if megvii else ("conv1", "conv5", "fc")
        )
        names = {
            "stem_conv": f"{stem}.0",
            "stem_bn": f"{stem}.1",
            "head_conv": f"{head}.0",
            "head_bn": f"{head}.1",
            "classifier": classifier,
        }
        for index, (stage, unit) in enumerate(_unit_positions()):
            module = f"features.{index}" if megvii else f"stage{stage}.{unit}"
            projection, main = ("branch_proj", "branch_main") if megvii else ("branch1", "branch2")
            for layer, position in _POSITIONS.items():
                branch = projection if layer.startswith("projection") else main
                names[f"stage{stage}_unit{unit}/{layer}"] = f"{module}.{branch}.{position}"
        return names


# Sub-layer of a unit → its position in the reference's branch, the same in both variants.
_POSITIONS = {
    "projection_depthwise": 0,
    "projection_depthwise_bn": 1,
    "projection_pointwise": 2,
    "projection_pointwise_bn": 3,
    "pointwise1": 0,
    "pointwise1_bn": 1,
    "depthwise": 3,
    "depthwise_bn": 4,
    "pointwise2": 5,
    "pointwise2_bn": 6,
}


def _name(alpha, variant):
    suffix = "" if variant == "torchvision" else f"_{variant}"
    return f"shufflenet_v2_x{str(float(alpha)).replace('.', '_')}{suffix}"


def _unit_positions():
    return [(stage, unit) for stage, n in enumerate(_UNITS, start=2) for unit in range(n)]


def _features(inputs, widths, variant, common):
    """The pyramid of tensors P1…P5 over `inputs`."""
    x = _convolution(inputs, _STEM, 3, 2, "stem", **common)
    pyramid = {"P1": x, "P2": _max_pool(x, "stem_pool", **common)}
    x = pyramid["P2"]
    for stage, unit in _unit_positions():
        strides = 2 if unit == 0 else 1
        name = f"stage{stage}_unit{unit}"
        x = ShuffleUnitV2(widths[stage - 2], strides, variant, name=name, **common)(x)
        pyramid[f"P{stage + 1}"] = x
    pyramid["P5"] = _convolution(x, widths[-1], 1, 1, "head", **common)
    return pyramid


def _convolution(x, filters, kernel_size, strides, name, padding, data_format, dtype):
    symmetric = padding == "symmetric" and strides > 1
    if symmetric:
        x = keras.layers.ZeroPadding2D(
            kernel_size // 2, data_format=data_format, dtype=dtype, name=f"{name}_pad"
        )(x)
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="valid" if symmetric else "same",
        use_bias=False,
        data_format=data_format,
        dtype=dtype,
        name=f"{name}_conv",
    )(x)
    x = keras.layers.BatchNormalization(
        axis=channel_axis(data_format), momentum=0.9, epsilon=1e-5, dtype=dtype, name=f"{name}_bn"
    )(x)
    return keras.layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)


def _max_pool(x, name, padding, data_format, dtype):
    if padding == "symmetric":  # zeros may stand for −∞: nothing is negative after the ReLU
        x = keras.layers.ZeroPadding2D(1, data_format=data_format, dtype=dtype, name=f"{name}_pad")(
            x
        )
    return keras.layers.MaxPooling2D(
        3,
        2,
        padding="valid" if padding == "symmetric" else "same",
        data_format=data_format,
        dtype=dtype,
        name=name,
    )(x)


# (variant, alpha) → trainable parameters with 1000 classes.
_PARAMETERS = {
    ("torchvision", 0.5): 1_366_792,
    ("torchvision", 1.0): 2_278_604,
    ("torchvision", 1.5): 3_503_624,
    ("torchvision", 2.0): 7_393_996,
    ("megvii", 0.5): 1_365_792,
    ("megvii", 1.0): 2_278_760,
    ("megvii", 1.5): 3_506_720,
    ("megvii", 2.0): 7_402_600,
}

# Rows of the registry: name, constructor, own arguments, parameters, input, weights.
ENTRIES = [
    (
        _name(alpha, variant),
        ShuffleNetV2,
        {"alpha": alpha, "variant": variant},
        parameters,
        (224, 224, 3),
        IMAGENET[alpha] if variant == "torchvision" else None,
    )
    for (variant, alpha), parameters in _PARAMETERS.items()
]
