"""SCNet: residual networks with self-calibrated convolutions (CVPR 2020)."""

from collections.abc import Sequence

import keras

from kdl._checks import check_choice, is_integer
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications._residual import PLANES, checked_depth, depth_name, outer_names, stages, stem
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.sources.scnet import IMAGENET
from kdl.layers.blocks.self_calibrated_block import SelfCalibratedBlock

# Depth, variant → trainable parameters and multiply-adds at 224².
_COUNTS = {
    (50, None): (25_564_584, 3.925e9),
    (101, None): (44_565_416, 7.169e9),
    (50, "v1d"): (25_583_816, 4.685e9),
    (101, "v1d"): (44_689_192, 9.044e9),
}


@keras.saving.register_keras_serializable("kdl")
class SCNet(Application):
    """SCNet: a ResNet in which half of each 3×3 convolution is self-calibrated.

    Stem 7×7/2 and max-pool, four stages of `SelfCalibratedBlock`, global average, classifier. The
    blocks of stage `s` have two branches of `32 · 2ˢ` channels and give `256 · 2ˢ`.

    `variant="v1d"` has a stem of three 3×3 convolutions (32, 32 and 64 channels, twice as many at
    depth 101) and gives the strides of the stages to averages: see `average_pool` and
    `average_shortcut` of `kdl.layers.SelfCalibratedBlock`.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. The authors' code takes 97×97 and more;
    there this network is the same. Output: `(batch, classes)`, or the last feature map without top.

    Args:
        depth: Number of layers with weights: 50 (default), 101 or 152, or the blocks of the four
            stages, such as `(2, 2, 2, 2)`.
        variant: None (default) or `"v1d"`.
        upsampling: How the self-calibration enlarges its view from afar, `"nearest"` (default) or
            `"bilinear"`; see `kdl.layers.SelfCalibratedConv2D`. Published weights need `"nearest"`.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation. Averages give up
            their stride, but are not dilated.
        padding: `"symmetric"` (default, as the reference pads) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        weights: None (default), `"imagenet"` (the authors' weights, which they publish for all but
            the v1d of depth 101), or the path of a `.weights.h5`, `.keras`, `.pth` or
            `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: Improving Convolutional Networks with Self-Calibrated Convolutions (CVPR 2020), and the
    authors' code (MCG-NKU/SCNet).

    Example:
        >>> model = SCNet((1, 1, 1, 1), input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth: int | Sequence[int] = 50,
        variant: str | None = None,
        upsampling: str = "nearest",
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
        depth, repeats = checked_depth(depth)
        check_choice("variant", variant, (None, "v1d"))
        check_choice("upsampling", upsampling, ("nearest", "bilinear"))
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        block_arguments = common.block_arguments(factory)

        def block(stage, index, step, dilation, block_name):
            planes = PLANES[stage]
            return SelfCalibratedBlock(
                4 * planes,
                planes // 2,
                step,
                dilation,
                upsampling=upsampling,
                average_pool=variant == "v1d" and stage > 0 and index == 0,
                average_shortcut=variant == "v1d",
                name=block_name,
                **block_arguments,
            )

        x = stem(inputs, _stem_widths(depth, variant), factory, strides)
        x = strides.record(chain(x, factory.max_pool("stem_pool", strides.next(2)[0])))
        x = stages(x, repeats, block, strides)
        own["depth"] = depth if isinstance(depth, int) else list(depth)
        sources = _published(depth, variant, upsampling)
        super().__init__(own, common, strides, common.head(x), _name(depth, variant), sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in the authors' code."""
        deep = self.get_config()["variant"] == "v1d"
        return {"mcg-nku": _NAMES | outer_names(deep)}


_NAMES = {
    "stage{stage}_block{block}/conv1_a": "layer{stage}.{block}.conv1_a",
    "stage{stage}_block{block}/bn1_a": "layer{stage}.{block}.bn1_a",
    "stage{stage}_block{block}/conv1_b": "layer{stage}.{block}.conv1_b",
    "stage{stage}_block{block}/bn1_b": "layer{stage}.{block}.bn1_b",
    "stage{stage}_block{block}/k1_conv": "layer{stage}.{block}.k1.0",
    "stage{stage}_block{block}/k1_bn": "layer{stage}.{block}.k1.1",
    "stage{stage}_block{block}/scconv/k3_conv": "layer{stage}.{block}.scconv.k3.0",
    "stage{stage}_block{block}/scconv/k3_bn": "layer{stage}.{block}.scconv.k3.1",
    "stage{stage}_block{block}/scconv/k4_conv": "layer{stage}.{block}.scconv.k4.0",
    "stage{stage}_block{block}/scconv/k4_bn": "layer{stage}.{block}.scconv.k4.1",
    # The average comes first there.
    "stage{stage}_block{block}/scconv/k2_conv": "layer{stage}.{block}.scconv.k2.1",
    "stage{stage}_block{block}/scconv/k2_bn": "layer{stage}.{block}.scconv.k2.2",
    "stage{stage}_block{block}/conv3": "layer{stage}.{block}.conv3",
    "stage{stage}_block{block}/bn3": "layer{stage}.{block}.bn3",
}


def _stem_widths(depth, variant):
    if variant is None:
        return (64,)
    return (64, 64, 128) if depth == 101 else (32, 32, 64)


def _published(depth, variant, upsampling):
    known = is_integer(depth) and upsampling == "nearest"
    return IMAGENET.get((depth, variant), ()) if known else ()


def _name(depth, variant):
    return f"scnet{depth_name(depth)}" + (f"_{variant}" if variant else "")


ENTRIES = [
    ModelEntry(
        _name(depth, variant),
        SCNet,
        {"depth": depth, "variant": variant},
        parameters,
        macs,
        IMAGENET.get((depth, variant), ()),
    )
    for (depth, variant), (parameters, macs) in _COUNTS.items()
]
