"""MobileNetV2: inverted residuals with linear bottlenecks (arXiv 1801.04381)."""

import keras

from kdl._checks import check_choice
from kdl._registry import ModelEntry
from kdl._typing import Activation, ArrayLike, DType, Path, Shape, Tensor
from kdl.applications._common import StrideTracker, bind_arguments, chain, multiple_of_8
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_tf, scale_torch
from kdl.applications.weights.names import mobilenet_v2 as names
from kdl.applications.weights.sources.mobilenet_v2 import IMAGENET
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

# alpha → trainable parameters and multiply-adds at 224².
_COUNTS = {
    0.35: (1_677_128, 59.3e6),
    0.5: (1_968_680, 97.1e6),
    0.75: (2_636_424, 209.1e6),
    1.0: (3_504_872, 300.8e6),
    1.3: (5_386_792, 509.4e6),
    1.4: (6_108_776, 582.2e6),
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
        weights: None (default), `"imagenet"` (with `padding="symmetric"` the weights of torchvision
            for `alpha=1.0` and of timm for `alpha=1.4`; with `padding="same"` those of
            `keras.applications` for 224×224 pixels), or the path of a `.weights.h5`, `.keras`,
            `.pth` or `.safetensors` file, or of an `.h5` file of `keras.applications`.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

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
        alpha: float = 1.0,
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
        check_choice("alpha", alpha, tuple(_COUNTS))
        check_choice("padding", padding, tuple(_BATCH_NORM))
        inputs = common.inputs()
        factory = common.factory(padding, *_BATCH_NORM[padding])
        strides = StrideTracker(output_stride)
        block = common.block_arguments(factory)
        x = chain(inputs, _conv(factory, multiple_of_8(32 * alpha), 3, "stem", strides.next(2)[0]))
        for block_name, expansion, filters, ask in _blocks():
            step, dilation = strides.next(ask)
            x = InvertedResidual(
                multiple_of_8(filters * alpha),
                step,
                expansion,
                dilation_rate=dilation,
                name=block_name,
                **block,
            )(x)
            strides.record(x)
        x = strides.record(
            chain(x, _conv(factory, multiple_of_8(1280 * max(alpha, 1.0)), 1, "head"))
        )
        outputs = common.head(x, dropout)
        super().__init__(own, common, strides, outputs, _name(alpha), IMAGENET[alpha])

    @staticmethod
    def preprocess_input(
        images: ArrayLike, padding: str = "symmetric", data_format: str | None = None
    ) -> Tensor:
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

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision and timm, or with `padding="same"` in Keras.

        Files of `keras.applications` keep the names that the network had there when they were made:
        `mobl1_conv_1_expand` for `block_1_expand`, `Logits` for `predictions`.
        """
        blocks = [(block, expansion) for block, expansion, *_ in _blocks()]
        if self.get_config()["padding"] == "symmetric":
            return {"torchvision": names.torchvision(blocks), "timm": names.timm(blocks)}
        return {
            "keras": names.keras(blocks, "predictions", "block_{i}_{part}", "block_{i}_{part}_BN"),
            "keras of 2018": names.keras(
                blocks, "Logits", "block_{i}_{part}", "block_{i}_{part}_BN"
            ),
            "keras files": names.keras(
                blocks, "Logits", "mobl{i}_conv_{i}_{part}", "bn{i}_conv_{i}_bn_{part}"
            ),
        }


def _blocks():
    """`(name, expansion, width, strides)` of each block, the width before `alpha`."""
    for stage, (expansion, filters, blocks, strides) in enumerate(_STAGES):
        for block in range(blocks):
            yield f"stage{stage}_block{block}", expansion, filters, strides if block == 0 else 1


def _conv(factory, filters, kernel_size, name, strides=1):
    return [
        *factory.conv(filters, kernel_size, f"{name}_conv", strides),
        factory.norm(f"{name}_bn"),
        factory.relu(f"{name}_relu", 6.0),
    ]


def _name(alpha):
    return f"mobilenet_v2_a{str(float(alpha)).replace('.', '_')}"


ENTRIES = [
    ModelEntry(_name(alpha), MobileNetV2, {"alpha": alpha}, parameters, macs, IMAGENET[alpha])
    for alpha, (parameters, macs) in _COUNTS.items()
]
