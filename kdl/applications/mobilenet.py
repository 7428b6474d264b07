"""MobileNet: depthwise separable convolutions (arXiv 1704.04861)."""

import keras

from kdl._checks import check_choice
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_tf
from kdl.applications.weights.sources.mobilenet import IMAGENET
from kdl.layers.blocks.separable_block import RELU_LIMITS, SeparableBlock

# Widths of the blocks of each stage; from the second stage on the first block has stride 2.
_STAGES = ((64,), (128,) * 2, (256,) * 2, (512,) * 6, (1024,) * 2)

# padding → epsilon and momentum of batch norm, in PyTorch's and in TensorFlow's lineage.
_BATCH_NORM = {"symmetric": (1e-5, 0.9), "same": (1e-3, 0.99)}

# alpha → trainable parameters and multiply-adds at 224².
_COUNTS = {
    0.25: (470_072, 41.0e6),
    0.5: (1_331_592, 149.5e6),
    0.75: (2_585_560, 325.4e6),
    1.0: (4_231_976, 568.7e6),
}


@keras.saving.register_keras_serializable("kdl")
class MobileNet(Application):
    """MobileNet: the first classifier made of depthwise separable convolutions, and a backbone.

    Convolution 3×3/2 to `⌊32 · alpha⌋` channels, thirteen blocks of `SeparableBlock` from
    `⌊64 · alpha⌋` to `⌊1024 · alpha⌋` channels, global average, classifier.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        alpha: Width multiplier: 0.25, 0.5, 0.75 or 1.0 (default).
        activation: `"relu6"` (default, as in all published weights) or `"relu"` (the paper).
        dropout: Fraction dropped before the classifier. Defaults to 0.001.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: The lineage of the network. `"symmetric"` (default): as PyTorch pads, batch norm
            with epsilon 1e-5 and momentum 0.9; weights of timm. `"same"`: TensorFlow's rule, batch
            norm with epsilon 1e-3 and momentum 0.99; weights of `keras.applications`, which agree
            for heights and widths divisible by 32 (at others Keras drops a row or column where
            TensorFlow's rule keeps it).
        weights: None (default), `"imagenet"` (the weights of `keras.applications` for 224×224
            pixels, with `padding="same"`), or the path of a `.weights.h5`, `.keras`, `.pth` or
            `.safetensors` file, or of an `.h5` file of `keras.applications`.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network or padding.
        FileNotFoundError: If the file of weights does not exist.

    Source: MobileNets (arXiv 1704.04861), table 1; the last block has stride 1, as in every
    implementation.

    Example:
        >>> model = MobileNet(0.25, input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        activation: str = "relu6",
        dropout: float = 0.001,
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
        check_choice("activation", activation, tuple(RELU_LIMITS))
        check_choice("padding", padding, tuple(_BATCH_NORM))
        inputs = common.inputs()
        factory = common.factory(padding, *_BATCH_NORM[padding])
        strides = StrideTracker(output_stride)
        block = {"activation": activation, **common.block_arguments(factory)}
        x = chain(
            inputs,
            factory.conv(int(32 * alpha), 3, "stem_conv", strides.next(2)[0]),
            factory.norm("stem_bn"),
            factory.relu("stem_relu", RELU_LIMITS[activation]),
        )
        for block_name, filters, ask in _blocks():
            step, dilation = strides.next(ask)
            x = SeparableBlock(
                int(filters * alpha), step, dilation_rate=dilation, name=block_name, **block
            )(x)
            strides.record(x)
        outputs = common.head(x, dropout)
        super().__init__(own, common, strides, outputs, _name(alpha), IMAGENET[alpha])

    preprocess_input = staticmethod(scale_tf)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in timm, or with `padding="same"` in `keras.applications`."""
        if self.get_config()["padding"] == "same":
            return {"keras": _keras_names()}
        return {"timm": _timm_names()}


def _timm_names():
    names = {"stem_conv": "conv_stem", "stem_bn": "bn1", "classifier": "classifier"}
    parts = {"depthwise": "conv_dw", "depthwise_bn": "bn1"}
    parts |= {"pointwise": "conv_pw", "pointwise_bn": "bn2"}
    for layer, module in parts.items():
        names[f"stage{{stage}}_block{{block}}/{layer}"] = f"blocks.{{stage}}.{{block}}.{module}"
    return names


def _keras_names():
    names = {"stem_conv": "conv1", "stem_bn": "conv1_bn", "classifier": "conv_preds"}
    for index, (block, *_) in enumerate(_blocks(), start=1):
        for layer, short in (("depthwise", "dw"), ("pointwise", "pw")):
            names[f"{block}/{layer}"] = f"conv_{short}_{index}"
            names[f"{block}/{layer}_bn"] = f"conv_{short}_{index}_bn"
    return names


def _blocks():
    """`(name, width, strides)` of each block, the width before `alpha`."""
    for stage, widths in enumerate(_STAGES):
        for block, filters in enumerate(widths):
            strides = 2 if stage > 0 and block == 0 else 1
            yield f"stage{stage}_block{block}", filters, strides


def _name(alpha):
    return f"mobilenet_a{str(float(alpha)).replace('.', '_')}"


ENTRIES = [
    ModelEntry(_name(alpha), MobileNet, {"alpha": alpha}, parameters, macs, IMAGENET[alpha])
    for alpha, (parameters, macs) in _COUNTS.items()
]
