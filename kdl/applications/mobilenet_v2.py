"""MobileNetV2 (arXiv 1801.04381)."""

import keras

from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_tf, scale_torch
from kdl.applications.weights.source import WeightSource
from kdl.layers._block import check_choice
from kdl.layers.blocks.inverted_residual import InvertedResidual

# Expansion, width, blocks and stride of each stage (paper, table 2).
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)

# padding → epsilon and momentum of batch norm, in PyTorch's and in TensorFlow's lineage.
_BATCH_NORM = {"symmetric": (1e-5, 0.9), "same": (1e-3, 0.999)}

# alpha → trainable parameters, multiply-adds at 224², top-1 as published for the checkpoints of
# TensorFlow's models, from which the files of keras.applications were made.
_TABLE = {
    0.35: (1_677_128, 59.3e6, 60.3),
    0.5: (1_968_680, 97.1e6, 65.4),
    0.75: (2_636_424, 209.1e6, 69.8),
    1.0: (3_504_872, 300.8e6, 71.8),
    1.3: (5_386_792, 509.4e6, 74.4),
    1.4: (6_108_776, 582.2e6, 75.0),
}

_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"

_TORCH_SOURCES = {
    1.0: (
        WeightSource(
            name="mobilenet_v2-b0353104.pth",
            url=_TORCHVISION + "mobilenet_v2-b0353104.pth",
            sha256="b0353104",
            parameters=3_504_872,
            top1=71.878,
            licence="BSD-3-Clause (torchvision)",
        ),
        WeightSource(
            name="mobilenet_v2-7ebf99e0.pth",
            url=_TORCHVISION + "mobilenet_v2-7ebf99e0.pth",
            sha256="7ebf99e0",
            parameters=3_504_872,
            top1=72.154,
            licence="BSD-3-Clause (torchvision)",
            resize=232,
        ),
    ),
    1.4: (
        WeightSource(
            name="mobilenetv2_140_ra-21a4e913.pth",
            url=_TIMM + "mobilenetv2_140_ra-21a4e913.pth",
            sha256="21a4e913",
            parameters=6_108_776,
            top1=76.528,
            licence="Apache-2.0 (timm)",
        ),
    ),
}


def _keras_source(alpha, parameters, top1):
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5"
    return WeightSource(
        name=file,
        url=_KERAS + file,
        sha256="",
        parameters=parameters,
        top1=top1,
        licence="Apache-2.0 (TensorFlow models)",
        padding="same",
    )


IMAGENET = {
    alpha: (*_TORCH_SOURCES.get(alpha, ()), _keras_source(alpha, parameters, top1))
    for alpha, (parameters, _, top1) in _TABLE.items()
}


@keras.saving.register_keras_serializable("kdl")
class MobileNetV2(Application):
    """MobileNetV2: a classifier for phones with narrow residual blocks, and a backbone.

    Convolution 3×3/2, seventeen blocks of `InvertedResidual` in seven stages, 1×1 convolution,
    global average, classifier. All widths are multiplied by `alpha` and rounded to a multiple of 8;
    the last convolution has at least 1280 channels.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        alpha: Width multiplier: 0.35, 0.5, 0.75, 1.0 (default), 1.3 or 1.4.
        dropout: Fraction dropped before the classifier. Defaults to 0.2.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: The lineage of the network. `"symmetric"` (default): as PyTorch pads, batch norm
            with epsilon 1e-5 and momentum 0.9; weights of torchvision and timm. `"same"`:
            TensorFlow's rule, batch norm with epsilon 1e-3 and momentum 0.999; weights of
            `keras.applications`.
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (with `padding="symmetric"` the weights of torchvision
            for `alpha=1.0` and of timm for `alpha=1.4`; with `padding="same"` those of
            `keras.applications` for 224×224 pixels), or the path of a `.weights.h5`, `.keras`,
            `.pth` or `.safetensors` file, or of an `.h5` file of `keras.applications`.
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
            network or padding.
        FileNotFoundError: If the file of weights does not exist.

    Source: MobileNetV2 (arXiv 1801.04381), table 2.

    Example:
        >>> model = MobileNetV2(0.35, input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        alpha=1.0,
        dropout=0.2,
        output_stride=32,
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
        check_choice("alpha", alpha, tuple(_TABLE))
        check_choice("padding", padding, tuple(_BATCH_NORM))
        common = CommonArguments(
            include_top,
            input_tensor,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            dtype,
            data_format,
        )
        inputs = common.inputs()
        make, strides = common.maker(padding, *_BATCH_NORM[padding]), Strides(output_stride)
        block = common.block_arguments(make)
        x = chain(inputs, _conv(make, _width(32 * alpha), 3, "stem", strides.step(2)[0]))
        for block_name, expansion, filters, ask in _blocks():
            step, dilation = strides.step(ask)
            x = InvertedResidual(
                _width(filters * alpha),
                step,
                expansion,
                dilation_rate=dilation,
                name=block_name,
                **block,
            )(x)
            strides.keep(x)
        x = strides.keep(chain(x, _conv(make, _width(1280 * max(alpha, 1.0)), 1, "head")))
        outputs = common.head(x, dropout)
        arguments = {
            "alpha": alpha,
            "dropout": dropout,
            "output_stride": output_stride,
            "padding": padding,
            **common.config(),
        }
        super().__init__(inputs, outputs, strides, arguments, name or _name(alpha))
        self.load_initial_weights(weights, IMAGENET[alpha])

    @staticmethod
    def preprocess_input(images, padding="symmetric", data_format=None):
        """Scales RGB images of 0…255 as the published weights expect them.

        torchvision and timm: `(x / 255 − mean) / std` per channel. `keras.applications`:
        `x / 127.5 − 1`.

        Args:
            images: Array or tensor of RGB images, values 0…255; it is not changed.
            padding: That of the network: `"symmetric"` (default; torchvision and timm) or `"same"`
                (`keras.applications`).
            data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

        Returns:
            Float images of the same shape.

        Example:
            >>> import numpy as np
            >>> white = np.full((1, 1, 1, 3), 255, "uint8")
            >>> [round(float(v), 2) for v in MobileNetV2.preprocess_input(white).ravel()]
            [2.25, 2.43, 2.64]
            >>> MobileNetV2.preprocess_input(white, padding="same").ravel().tolist()
            [1.0, 1.0, 1.0]
        """
        check_choice("padding", padding, tuple(_BATCH_NORM))
        return (scale_torch if padding == "symmetric" else scale_tf)(images, data_format)

    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
        """Names of the layers in torchvision, timm and `keras.applications`.

        Files of `keras.applications` keep the names that the network had there when they were made:
        `mobl1_conv_1_expand` for `block_1_expand`, `Logits` for `predictions`.
        """
        return {
            "torchvision": _torchvision_names(),
            "timm": _timm_names(),
            "keras": _keras_names("predictions", "block_{i}_{part}", "block_{i}_{part}_BN"),
            "keras of 2018": _keras_names("Logits", "block_{i}_{part}", "block_{i}_{part}_BN"),
            "keras files": _keras_names(
                "Logits", "mobl{i}_conv_{i}_{part}", "bn{i}_conv_{i}_bn_{part}"
            ),
        }


def _torchvision_names():
    names = {"stem_conv": "features.0.0", "stem_bn": "features.0.1", "classifier": "classifier.1"}
    names |= {"head_conv": "features.18.0", "head_bn": "features.18.1"}
    for index, (block, expansion, *_) in enumerate(_blocks(), start=1):
        modules = ["0.0", "0.1", "1.0", "1.1", "2", "3"]
        if expansion == 1:
            modules = ["0.0", "0.1", "1", "2"]
        for layer, module in zip(_layers(expansion), modules, strict=True):
            names[f"{block}/{layer}"] = f"features.{index}.conv.{module}"
    return names


def _timm_names():
    names = {"stem_conv": "conv_stem", "stem_bn": "bn1", "classifier": "classifier"}
    names |= {"head_conv": "conv_head", "head_bn": "bn2"}
    for block, expansion, *_ in _blocks():
        modules = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        if expansion == 1:
            modules = ["conv_dw", "bn1", "conv_pw", "bn2"]
        prefix = block.replace("stage", "blocks.").replace("_block", ".")
        for layer, module in zip(_layers(expansion), modules, strict=True):
            names[f"{block}/{layer}"] = f"{prefix}.{module}"
    return names


def _keras_names(classifier, conv, norm):
    """Names whose blocks follow the patterns `conv` and `norm`."""
    names = {"stem_conv": "Conv1", "stem_bn": "bn_Conv1", "classifier": classifier}
    names |= {"head_conv": "Conv_1", "head_bn": "Conv_1_bn"}
    for index, (block, expansion, *_) in enumerate(_blocks()):
        for layer in _layers(expansion):
            part = layer.removesuffix("_bn")
            name = (norm if layer.endswith("_bn") else conv).format(i=index, part=part)
            names[f"{block}/{layer}"] = name.replace("block_0", "expanded_conv")
    return names


def _layers(expansion):
    """Layers with weights of a block, from first to last."""
    parts = ["depthwise", "project"] if expansion == 1 else ["expand", "depthwise", "project"]
    return [name for part in parts for name in (part, f"{part}_bn")]


def _blocks():
    """`(name, expansion, width, strides)` of each block, the width before `alpha`."""
    for stage, (expansion, filters, blocks, strides) in enumerate(_STAGES):
        for block in range(blocks):
            yield f"stage{stage}_block{block}", expansion, filters, strides if block == 0 else 1


def _width(channels):
    """The nearest multiple of 8, at least 8, and at least nine tenths of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _conv(make, filters, kernel_size, name, strides=1):
    return [
        *make.conv(filters, kernel_size, f"{name}_conv", strides),
        make.norm(f"{name}_bn"),
        make.relu(f"{name}_relu", 6.0),
    ]


def _name(alpha):
    return f"mobilenet_v2_a{str(float(alpha)).replace('.', '_')}"


ENTRIES = [
    ModelEntry(_name(alpha), MobileNetV2, {"alpha": alpha}, parameters, macs, IMAGENET[alpha])
    for alpha, (parameters, macs, _) in _TABLE.items()
]
