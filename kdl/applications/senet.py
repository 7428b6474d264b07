"""Squeeze-and-excitation networks (arXiv 1709.01507) on ResNet and ResNeXt."""

import keras

from kdl._checks import check_integer, is_integer
from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications._residual import PLANES, repeats_of, stages, stem
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.variant import variant
from kdl.applications.weights.source import WeightSource
from kdl.layers._block import check_choice
from kdl.layers.blocks.resnext_block import ResNeXtBlock

_LAYOUTS = ("caffe", "timm", "senet")

_RATIO = 16

_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/"
_CADENE = "http://data.lip6.fr/cadene/pretrainedmodels/"
_LICENCE = "Apache-2.0 (SENet, timm)"


def _source(url, parameters, top1, licence=_LICENCE):
    file = url.rsplit("/", 1)[1]
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    return WeightSource(file, url, digits, parameters, top1, licence)


def _cadene(file, parameters, top1):
    return _source(_CADENE + file, parameters, top1, "Apache-2.0 (SENet, ported by Cadene)")


# Rows of the registry: depth, cardinality, base width, layout, parameters, multiply-adds, weights.
_TABLE = [
    (
        50,
        1,
        64,
        "caffe",
        28_088_024,
        3.860e9,
        (_source(_TIMM + "v0.1-cadene/se_resnet50-ce0d4300.pth", 28_088_024, 77.650),),
    ),
    (
        101,
        1,
        64,
        "caffe",
        49_326_872,
        7.575e9,
        (_source(_TIMM + "v0.1-cadene/se_resnet101-7e38fcc6.pth", 49_326_872, 78.370),),
    ),
    (
        152,
        1,
        64,
        "caffe",
        66_821_848,
        11.289e9,
        (_source(_TIMM + "v0.1-cadene/se_resnet152-d17c99b7.pth", 66_821_848, 78.662),),
    ),
    (
        50,
        32,
        4,
        "caffe",
        27_559_896,
        4.233e9,
        (
            _source(
                _TIMM + "v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth", 27_559_896, 79.080
            ),
            _cadene("se_resnext50_32x4d-a260b3a4.pth", 27_559_896, 79.03),
        ),
    ),
    (
        101,
        32,
        4,
        "caffe",
        48_955_416,
        7.975e9,
        (
            _source(
                _TIMM + "v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth", 48_955_416, 80.274
            ),
            _cadene("se_resnext101_32x4d-3b2fe3d8.pth", 48_955_416, 80.19),
        ),
    ),
    (
        152,
        64,
        4,
        "senet",
        115_088_984,
        20.688e9,
        (
            _source(_TIMM + "v0.1-weights/legacy_senet154-e9eb9fe6.pth", 115_088_984, 81.320),
            _cadene("senet154-c7b49a05.pth", 115_088_984, 81.32),
        ),
    ),
]

_SOURCES = {row[:4]: row[-1] for row in _TABLE}
_SOURCES[50, 1, 64, "timm"] = (
    _source(_TIMM + "v0.1-weights/seresnet50_ra_224-8efdb4bb.pth", 28_088_024, 80.260),
)


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
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (the authors' weights, or timm's for its layout), or
            the path of a `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
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

    Source: Squeeze-and-Excitation Networks (arXiv 1709.01507), table 1 and appendix.

    Example:
        >>> model = SEResNet((1, 1, 1, 1), input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth=50,
        cardinality=1,
        base_width=64,
        layout="caffe",
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
        cardinality = check_integer("cardinality", cardinality)
        base_width = check_integer("base_width", base_width)
        check_choice("layout", layout, _LAYOUTS)
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

        max_pool = make.max_pool if layout == "timm" else make.ceil_max_pool
        x = stem(inputs, (64, 64, 128) if layout == "senet" else (64,), make, strides)
        x = strides.keep(chain(x, max_pool("stem_pool", strides.step(2)[0])))
        x = stages(x, repeats, block, strides)
        outputs = common.head(x, dropout=0.2 if layout == "senet" else 0.0)
        arguments = {
            "depth": depth,
            "cardinality": cardinality,
            "base_width": base_width,
            "layout": layout,
            "output_stride": output_stride,
            "padding": padding,
            **common.config(),
        }
        name = name or _name(depth, cardinality, base_width, layout)
        super().__init__(inputs, outputs, strides, arguments, name)
        sources = _SOURCES.get((depth, cardinality, base_width, layout), ())
        self.load_initial_weights(weights, sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
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
    plain = (cardinality, base_width) == (1, 64)
    return f"{family}{'' if plain else width}{'' if layout == 'caffe' else '_timm'}"


SEResNet50 = variant("SEResNet50", SEResNet, depth=50)
SEResNet101 = variant("SEResNet101", SEResNet, depth=101)
SEResNet152 = variant("SEResNet152", SEResNet, depth=152)
SEResNeXt50 = variant("SEResNeXt50", SEResNet, depth=50, cardinality=32, base_width=4)
SEResNeXt101 = variant("SEResNeXt101", SEResNet, depth=101, cardinality=32, base_width=4)
SENet154 = variant("SENet154", SEResNet, depth=152, cardinality=64, base_width=4, layout="senet")

ENTRIES = [
    ModelEntry(
        _name(depth, cardinality, base_width, layout),
        SEResNet,
        {
            "depth": depth,
            "cardinality": cardinality,
            "base_width": base_width,
            "layout": layout,
        },
        parameters,
        macs,
        sources,
    )
    for depth, cardinality, base_width, layout, parameters, macs, sources in _TABLE
]
