"""ResNet: residual networks (arXiv 1512.03385), also as the backbone of segmentation networks."""

from collections.abc import Sequence

import keras

from kdl._checks import check_choice, check_integer
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications._residual import checked_depth, depth_name, outer_names, stages
from kdl.applications._residual import stem as build_stem
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.sources.resnet import IMAGENET
from kdl.layers.blocks.resnext_block import ResNeXtBlock

# depth → trainable parameters and multiply-adds at 224².
_COUNTS = {50: (25_557_032, 4.089e9), 101: (44_549_160, 7.801e9)}

# Kind of stem → widths of its convolutions, in units of `width`.
_STEMS = {"plain": (1,), "deep": (1, 1, 2)}


@keras.saving.register_keras_serializable("kdl")
class ResNet(Application):
    """ResNet of bottleneck blocks, with the changes that segmentation networks make to it.

    Stem, max-pool, four stages of `ResNeXtBlock` with one branch, global average, classifier. The
    stride of a block is in its 3×3 convolution, as in torchvision. A block of stage `s` gives
    `4 · width · 2ˢ` channels.

    The network of the strip-pooling paper is `stem="deep"`, `strip_pooling=True`,
    `multi_grid=(1, 2, 4)` and `output_stride=8`: its last stage has the dilations 4, 8 and 16.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        depth: Number of layers with weights: 50 (default), 101 or 152, or the blocks of the four
            stages, such as `(2, 2, 2, 2)`.
        width: Channels inside the blocks of the first stage; the stem's follow. Defaults to 64.
        stem: `"plain"` (the default stem: one 7×7 convolution of `width` channels) or `"deep"`
            (three of 3×3 with `width`, `width` and `2 · width` channels).
        strip_pooling: Whether a `StripPooling` gates the 3×3 convolution in the last block of the
            first three stages and in all blocks of the fourth. Defaults to False.
        multi_grid: Factors by which the dilation of the blocks of the last stage grows, in turn,
            such as `(1, 2, 4)`; None (default) for none. Needs `output_stride` 8 or 16.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation. With
            `multi_grid` the first block of the last stage has the new dilation, else the old one.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        weights: None (default), `"imagenet"` (torchvision's first weights, with the default stem),
            or the path of a `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: Deep Residual Learning (arXiv 1512.03385), table 1; Strip Pooling (arXiv 2003.13328),
    section 3.4, and the authors' code.

    Example:
        >>> model = ResNet((1, 1, 1, 1), 16, input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth: int | Sequence[int] = 50,
        width: int = 64,
        stem: str = "plain",
        strip_pooling: bool = False,
        multi_grid: Sequence[int] | None = None,
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
        width = check_integer("width", width)
        check_choice("stem", stem, tuple(_STEMS))
        multi_grid = _checked_grid(multi_grid, output_stride)
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        block_arguments = common.block_arguments(factory)

        def block(stage, index, step, dilation, block_name):
            planes = width * 2**stage
            last = index == repeats[stage] - 1
            if stage == 3 and multi_grid:
                dilation = strides.dilation * multi_grid[index % len(multi_grid)]
            return ResNeXtBlock(
                4 * planes,
                1,
                planes,
                step,
                dilation,
                strip_pooling=strip_pooling and (last or stage == 3),
                name=block_name,
                **block_arguments,
            )

        x = build_stem(inputs, [width * factor for factor in _STEMS[stem]], factory, strides)
        x = strides.record(chain(x, factory.max_pool("stem_pool", strides.next(2)[0])))
        x = stages(x, repeats, block, strides)
        own |= {"depth": depth, "width": width, "multi_grid": multi_grid}
        default_name = _name(depth, width, stem, strip_pooling)
        published = (width, stem, strip_pooling) == (64, "plain", False)
        sources = IMAGENET.get(depth, ()) if published else ()
        super().__init__(own, common, strides, common.head(x), default_name, sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision; with the deep stem, in PyTorch-Encoding."""
        config = self.get_config()
        if config["strip_pooling"]:
            return {}
        deep = config["stem"] == "deep"
        return {"encoding" if deep else "torchvision": _names(deep)}


def _names(deep):
    block, theirs = "stage{stage}_block{block}", "layer{stage}.{block}"
    return {
        **outer_names(deep),
        f"{block}/conv{{i}}": f"{theirs}.conv{{i}}",
        f"{block}/bn{{i}}": f"{theirs}.bn{{i}}",
        f"{block}/projection_conv": f"{theirs}.downsample.0",
        f"{block}/projection_bn": f"{theirs}.downsample.1",
    }


def _checked_grid(multi_grid, output_stride):
    if multi_grid is None:
        return None
    if not isinstance(multi_grid, tuple | list):
        raise ValueError(f"multi_grid must be a tuple of integers; received {multi_grid!r}.")
    if not multi_grid:
        return None
    multi_grid = tuple(check_integer("each of multi_grid", factor) for factor in multi_grid)
    if output_stride == 32:
        raise ValueError(
            "multi_grid multiplies the dilation of the last stage, which has a stride with "
            "output_stride=32: pass 8 or 16."
        )
    return multi_grid


def _name(depth, width, stem, strip_pooling):
    parts = [
        f"resnet{depth_name(depth)}",
        "" if width == 64 else f"_w{width}",
        "" if stem == "plain" else "_deep",
        "_strips" if strip_pooling else "",
    ]
    return "".join(parts)


ENTRIES = [
    ModelEntry(f"resnet{depth}", ResNet, {"depth": depth}, parameters, macs, IMAGENET[depth])
    for depth, (parameters, macs) in _COUNTS.items()
]
