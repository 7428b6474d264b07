"""ResNet (arXiv 1512.03385), also as the backbone of segmentation networks."""

import keras

from kdl._checks import check_integer, is_integer
from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications._residual import depth_name, outer_names, repeats_of, stages
from kdl.applications._residual import stem as build_stem
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.variant import variant
from kdl.applications.weights.source import WeightSource
from kdl.layers._block import check_choice
from kdl.layers.blocks.resnext_block import ResNeXtBlock

_URL = "https://download.pytorch.org/models/"
_LICENCE = "BSD-3-Clause (torchvision)"


def _source(file, parameters, top1, resize=256):
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    return WeightSource(file, _URL + file, digits, parameters, top1, _LICENCE, resize)


# Rows of the registry: depth, parameters, multiply-adds, weights.
_TABLE = [
    (
        50,
        25_557_032,
        4.089e9,
        (
            _source("resnet50-0676ba61.pth", 25_557_032, 76.130),
            _source("resnet50-11ad3fa6.pth", 25_557_032, 80.858, 232),
        ),
    ),
    (
        101,
        44_549_160,
        7.801e9,
        (
            _source("resnet101-63fe2227.pth", 44_549_160, 77.374),
            _source("resnet101-cd907fc2.pth", 44_549_160, 81.886, 232),
        ),
    ),
]

# Kind of stem → widths of its convolutions, in units of `width`.
_STEMS = {"plain": (1,), "deep": (1, 1, 2)}

_SOURCES = {depth: sources for depth, _, _, sources in _TABLE}


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
        stem: `"plain"` (default; one 7×7 convolution of `width` channels) or `"deep"` (three of
            3×3 with `width`, `width` and `2 · width` channels).
        strip_pooling: Whether a `StripPooling` gates the 3×3 convolution in the last block of the
            first three stages and in all blocks of the fourth. Defaults to False.
        multi_grid: Factors by which the dilation of the blocks of the last stage grows, in turn,
            such as `(1, 2, 4)`; None (default) for none. Needs `output_stride` 8 or 16.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation. With
            `multi_grid` the first block of the last stage has the new dilation, else the old one.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (torchvision's first weights, for the plain network),
            or the path of a `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
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

    Source: Deep Residual Learning (arXiv 1512.03385), table 1; Strip Pooling (arXiv 2003.13328),
    section 3.4, and the authors' code.

    Example:
        >>> model = ResNet((1, 1, 1, 1), 16, input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth=50,
        width=64,
        stem="plain",
        strip_pooling=False,
        multi_grid=None,
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
        repeats = repeats_of(depth)
        depth = int(depth) if is_integer(depth) else repeats
        width = check_integer("width", width)
        check_choice("stem", stem, tuple(_STEMS))
        multi_grid = _checked_grid(multi_grid, output_stride)
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
        make, strides = common.maker(padding), Strides(output_stride)
        block_arguments = common.block_arguments(make)

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

        x = build_stem(inputs, [width * factor for factor in _STEMS[stem]], make, strides)
        x = strides.keep(chain(x, make.max_pool("stem_pool", strides.step(2)[0])))
        x = stages(x, repeats, block, strides)
        arguments = {
            "depth": depth,
            "width": width,
            "stem": stem,
            "strip_pooling": strip_pooling,
            "multi_grid": multi_grid,
            "output_stride": output_stride,
            "padding": padding,
            **common.config(),
        }
        name = name or _name(depth, width, stem, strip_pooling)
        super().__init__(inputs, common.head(x), strides, arguments, name)
        plain = (width, stem, strip_pooling) == (64, "plain", False)
        self.load_initial_weights(weights, _SOURCES.get(depth, ()) if plain else ())

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
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


ResNet50 = variant("ResNet50", ResNet, depth=50)
ResNet101 = variant("ResNet101", ResNet, depth=101)

ENTRIES = [
    ModelEntry(f"resnet{depth}", ResNet, {"depth": depth}, parameters, macs, sources)
    for depth, parameters, macs, sources in _TABLE
]
