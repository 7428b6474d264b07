"""Squeeze-and-excitation networks (arXiv 1709.01507) on ResNet and ResNeXt."""

from collections.abc import Sequence

import keras

from kdl._checks import check_choice, check_integer
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications._residual import PLANES, checked_depth, stages, stem
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.sources.senet import IMAGENET
from kdl.layers.blocks.resnext_block import ResNeXtBlock

_LAYOUTS = ("caffe", "timm", "senet")

_RATIO = 16

# Depth, cardinality, base width, layout → trainable parameters and multiply-adds at 224².
_COUNTS = {
    (50, 1, 64, "caffe"): (28_088_024, 3.860e9),
    (101, 1, 64, "caffe"): (49_326_872, 7.575e9),
    (152, 1, 64, "caffe"): (66_821_848, 11.289e9),
    (50, 32, 4, "caffe"): (27_559_896, 4.233e9),
    (101, 32, 4, "caffe"): (48_955_416, 7.975e9),
    (152, 64, 4, "senet"): (115_088_984, 20.688e9),
}


@keras.saving.register_keras_serializable("kdl")
class SEResNet(Application):
    """SE-ResNet, SE-ResNeXt and SENet-154: residual networks whose blocks gate their channels.

    Stem, max-pool, four stages of `ResNeXtBlock(squeeze_ratio=16)`, global average, classifier. A
    block of stage `s` (width 64 · 2ˢ) has `cardinality` groups of `⌊64 · 2ˢ · base_width / 64⌋`
    channels and gives `256 · 2ˢ`. Three layouts are published:

    - `layout="caffe"` (the authors'): the first 1×1 convolution of a stage has the stride if
      `cardinality` is 1, else the 3×3; the max-pool pads nothing, but its last window may reach
      beyond the border, so that its output has `⌊size / 2⌋` pixels.
    - `layout="timm"`: the stride is in the 3×3 convolution, and the max-pool is padded, as in
      torchvision's ResNet.
    - `layout="senet"`: what the authors changed for SENet-154. Like `"caffe"`, with three 3×3
      convolutions as stem, half as many channels in the first convolution of a block, 3×3
      convolutions as shortcuts where the size changes, and dropout of 0.2 before the classifier.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        depth: Blocks as in the ResNet of this depth: 50 (default), 101 or 152, or the blocks of the
            four stages, such as `(2, 2, 2, 2)`.
        cardinality: Number of groups in a block. Defaults to 1.
        base_width: Channels of a group in the first stage. Defaults to 64.
        layout: `"caffe"` (default), `"timm"` or `"senet"`.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        weights: None (default), `"imagenet"` (the authors' weights, or timm's for its layout), or
            the path of a `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: Squeeze-and-Excitation Networks (arXiv 1709.01507), table 1 and appendix.

    Example:
        >>> model = SEResNet((1, 1, 1, 1), input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth: int | Sequence[int] = 50,
        cardinality: int = 1,
        base_width: int = 64,
        layout: str = "caffe",
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
        cardinality = check_integer("cardinality", cardinality)
        base_width = check_integer("base_width", base_width)
        check_choice("layout", layout, _LAYOUTS)
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        block_arguments = common.block_arguments(factory)
        strides_first = layout == "caffe" and cardinality == 1

        def block(stage, index, step, dilation, block_name):
            planes = PLANES[stage]
            return ResNeXtBlock(
                4 * planes,
                cardinality,
                planes * base_width // 64,
                step,
                # The 3×3 convolution comes after the one that may have given up its stride.
                strides.dilation if strides_first else dilation,
                squeeze_ratio=_RATIO,
                strides_first=strides_first,
                first_filters=2 * planes if layout == "senet" else None,
                projection_size=3 if layout == "senet" and stage > 0 else 1,
                name=block_name,
                **block_arguments,
            )

        max_pool = factory.max_pool if layout == "timm" else factory.ceil_max_pool
        x = stem(inputs, (64, 64, 128) if layout == "senet" else (64,), factory, strides)
        x = strides.record(chain(x, max_pool("stem_pool", strides.next(2)[0])))
        x = stages(x, repeats, block, strides)
        outputs = common.head(x, dropout=0.2 if layout == "senet" else 0.0)
        own |= {"depth": depth, "cardinality": cardinality, "base_width": base_width}
        size = (depth, cardinality, base_width, layout)
        super().__init__(own, common, strides, outputs, _name(*size), IMAGENET.get(size, ()))

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in timm; its models of Caffe's layout have those of Cadene's."""
        if self.get_config()["layout"] == "timm":
            return {"timm": _names("", "se", "fc")}
        return {"timm": _names("layer0.", "se_module", "last_linear")}


def _names(stem_prefix, squeeze, classifier):
    block, theirs = "stage{stage}_block{block}", "layer{stage}.{block}"
    return {
        "stem_conv": f"{stem_prefix}conv1",
        "stem_bn": f"{stem_prefix}bn1",
        "stem{i}_conv": f"{stem_prefix}conv{{i}}",
        "stem{i}_bn": f"{stem_prefix}bn{{i}}",
        f"{block}/conv{{i}}": f"{theirs}.conv{{i}}",
        f"{block}/bn{{i}}": f"{theirs}.bn{{i}}",
        f"{block}/se/reduce": f"{theirs}.{squeeze}.fc1",
        f"{block}/se/expand": f"{theirs}.{squeeze}.fc2",
        f"{block}/projection_conv": f"{theirs}.downsample.0",
        f"{block}/projection_bn": f"{theirs}.downsample.1",
        "classifier": classifier,
    }


def _name(depth, cardinality, base_width, layout):
    size = depth if isinstance(depth, int) else "_".join(map(str, depth))
    width = f"_{cardinality}x{base_width}d"
    if layout == "senet":
        # Its stem has two layers more than ResNet's.
        size = depth + 2 if isinstance(depth, int) else size
        return f"senet{size}{'' if (cardinality, base_width) == (64, 4) else width}"
    family = f"se_resnet{size}" if cardinality == 1 else f"se_resnext{size}"
    default = (cardinality, base_width) == (1, 64)
    return f"{family}{'' if default else width}{'' if layout == 'caffe' else '_timm'}"


_FIELDS = ("depth", "cardinality", "base_width", "layout")

ENTRIES = [
    ModelEntry(
        _name(*size),
        SEResNet,
        dict(zip(_FIELDS, size, strict=True)),
        parameters,
        macs,
        IMAGENET[size],
    )
    for size, (parameters, macs) in _COUNTS.items()
]
