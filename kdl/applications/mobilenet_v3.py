"""MobileNetV3: searched inverted residuals with hard-swish and gates (arXiv 1905.02244)."""

import keras

from kdl._checks import check_choice
from kdl._registry import ModelEntry
from kdl._typing import Activation, ArrayLike, DType, Path, Shape, Tensor
from kdl.applications._common import StrideTracker, bind_arguments, chain, multiple_of_8
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.names import mobilenet_v3 as names
from kdl.applications.weights.sources.mobilenet_v3 import IMAGENET
from kdl.layers.blocks.inverted_residual import InvertedResidual

# Kernel, width in between, width, gate, hard-swish and stride of each block (tables 1 and 2).
_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)

# variant → blocks, and width of the classifier's hidden layer.
_VARIANTS = {"large": (_LARGE, 1280), "small": (_SMALL, 1024)}
# Blocks at the end that stand at stride 32, the tail.
_TAIL = 3

_EPSILON, _MOMENTUM = 1e-3, 0.99
_ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.25)

# variant → trainable parameters at alpha 1.
_COUNTS = {"large": 5_483_032, "small": 2_542_856}


@keras.saving.register_keras_serializable("kdl")
class MobileNetV3(Application):
    """MobileNetV3: a classifier for phones, found by search, and a backbone.

    Convolution 3×3/2 with hard-swish, blocks of `InvertedResidual`, some with a `SqueezeExcite` of
    a quarter of their inner width, 1×1 convolution to six times the width of the last block, global
    average, a dense layer with hard-swish, classifier. All widths are multiplied by `alpha` and
    rounded to a multiple of 8.

    The last tensor of stride 16, `pyramid_outputs["P4"]`, is the expansion of the first block of
    stride 32, which SSDLite reads.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        variant: `"large"` (default), fifteen blocks, or `"small"`, eleven.
        alpha: Width multiplier: 0.35, 0.5, 0.75, 1.0 (default) or 1.25.
        reduced_tail: If widths from stride 32 on are halved, those of the classifier too, as in
            torchvision's SSDLite. Defaults to False.
        dropout: Fraction dropped before the classifier. Defaults to 0.2.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: `"symmetric"` (default), as PyTorch pads, or `"same"`, TensorFlow's rule.
        weights: None (default), `"imagenet"` (those of torchvision, for the large network), or the
            path of a `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network or padding.
        FileNotFoundError: If the file of weights does not exist.

    Source: Searching for MobileNetV3 (arXiv 1905.02244), tables 1 and 2; the reduced tail is
    section 6.3.

    Example:
        >>> model = MobileNetV3("small", input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        variant: str = "large",
        alpha: float = 1.0,
        reduced_tail: bool = False,
        dropout: float = 0.2,
        output_stride: int = 32,
        padding: str = "symmetric",
        include_top: bool = True,
        weights: Path | None = None,
        input_tensor: keras.KerasTensor | None = None,
        input_shape: Shape | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
        dtype: DType = None,
        data_format: str | None = None,
        name: str | None = None,
    ) -> None:
        own, common = bind_arguments(locals())
        check_choice("variant", variant, tuple(_VARIANTS))
        check_choice("alpha", alpha, _ALPHAS)
        inputs = common.inputs()
        factory = common.factory(padding, _EPSILON, _MOMENTUM)
        strides = StrideTracker(output_stride)
        block = common.block_arguments(factory)
        stem = multiple_of_8(16 * alpha)
        x = chain(inputs, _conv(factory, stem, 3, "stem", "hard_swish", strides.next(2)[0]))
        strides.record(x)
        for block_name, is_split, arguments in _blocks(variant, alpha, reduced_tail):
            if is_split:
                inner, kind = arguments["inner_filters"], arguments["activation"]
                x = chain(x, _conv(factory, inner, 1, f"{block_name}_expand", kind))
                strides.record(x)
            step, dilation = strides.next(arguments.pop("strides"))
            x = InvertedResidual(
                strides=step, dilation_rate=dilation, name=block_name, **arguments, **block
            )(x)
            strides.record(x)
        last = 6 * arguments["filters"]
        x = strides.record(chain(x, _conv(factory, last, 1, "head", "hard_swish")))
        outputs = common.head(x, dropout, hidden=_hidden(variant, alpha, reduced_tail))
        sources = _sources(variant, alpha, reduced_tail)
        name = _name(variant, alpha, reduced_tail)
        super().__init__(own, common, strides, outputs, name, sources)

    @staticmethod
    def preprocess_input(images: ArrayLike, data_format: str | None = None) -> Tensor:
        """Scales RGB images of 0…255 as torchvision does: `(x / 255 − mean) / std` per channel.

        Args:
            images: Array or tensor of RGB images, values 0…255; it is not changed.
            data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

        Returns:
            Float images of the same shape.

        Example:
            >>> import numpy as np
            >>> white = np.full((1, 1, 1, 3), 255, "uint8")
            >>> [round(float(v), 2) for v in MobileNetV3.preprocess_input(white).ravel()]
            [2.25, 2.43, 2.64]
        """
        return scale_torch(images, data_format)

    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision, and without top as the body of its SSDLite.

        None with `padding="same"`, with which outputs are others.
        """
        config = self.get_config()
        if config["padding"] != "symmetric":
            return {}
        arguments = (config[key] for key in ("variant", "alpha", "reduced_tail"))
        width = multiple_of_8(16 * config["alpha"])
        blocks = []
        for block_name, is_split, block in _blocks(*arguments):
            own = "expanded" if block["inner_filters"] != width else "plain"
            has_gate = block["squeeze_filters"] is not None
            blocks.append((block_name, "split" if is_split else own, has_gate))
            width = block["filters"]
        if config["include_top"]:
            return {"torchvision": names.torchvision(blocks)}
        return {"torchvision": names.torchvision(blocks), "torchvision_ssd": names.ssd(blocks)}


def _blocks(variant, alpha, reduced_tail):
    """`(name, whether its expansion is apart, arguments)` of each block."""
    blocks, _ = _VARIANTS[variant]
    stage, number = 0, 0
    for place, (kernel_size, inner, filters, gated, swish, strides) in enumerate(blocks):
        stage, number = (stage + 1, 0) if strides > 1 else (stage, number + (place > 0))
        tail = place - (len(blocks) - _TAIL)
        halved = 2 if reduced_tail else 1
        inner = multiple_of_8(alpha * (inner // halved if tail > 0 else inner))
        arguments = {
            "filters": multiple_of_8(alpha * (filters // halved if tail >= 0 else filters)),
            "kernel_size": kernel_size,
            "strides": strides,
            "inner_filters": inner,
            "activation": "hard_swish" if swish else "relu",
            "squeeze_filters": multiple_of_8(inner // 4) if gated else None,
        }
        yield f"stage{stage}_block{number}", tail == 0, arguments


def _hidden(variant, alpha, reduced_tail):
    """Width of the classifier's hidden layer."""
    return multiple_of_8(alpha * (_VARIANTS[variant][1] // (2 if reduced_tail else 1)))


def _conv(factory, filters, kernel_size, name, activation, strides=1):
    return [
        *factory.conv(filters, kernel_size, f"{name}_conv", strides),
        factory.norm(f"{name}_bn"),
        factory.activation(activation, f"{name}_act"),
    ]


def _sources(variant, alpha, reduced_tail):
    return IMAGENET[variant] if alpha == 1 and not reduced_tail else ()


def _name(variant, alpha, reduced_tail):
    name = f"mobilenet_v3_{variant}_a{str(float(alpha)).replace('.', '_')}"
    return f"{name}_reduced" if reduced_tail else name


ENTRIES = [
    ModelEntry(
        _name(variant, 1.0, False), MobileNetV3, {"variant": variant}, parameters, None, sources
    )
    for (variant, parameters), sources in zip(_COUNTS.items(), IMAGENET.values(), strict=True)
]
