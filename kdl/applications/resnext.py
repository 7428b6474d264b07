"""ResNeXt (arXiv 1611.05431)."""

import keras

from kdl._checks import check_integer, is_integer
from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications._residual import PLANES, repeats_of, stages, stem
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.variant import variant
from kdl.applications.weights.source import WeightSource
from kdl.layers.blocks.resnext_block import ResNeXtBlock

_URL = "https://download.pytorch.org/models/"
_LICENCE = "BSD-3-Clause (torchvision)"


def _source(file, parameters, top1, resize=256):
    name, digits = file.removesuffix(".pth").rsplit("-", 1)
    return WeightSource(
        f"{name}-{digits}.pth", _URL + file, digits, parameters, top1, _LICENCE, resize
    )


# Rows of the registry: depth, cardinality, base width, parameters, multiply-adds, weights.
_TABLE = [
    (
        50,
        32,
        4,
        25_028_904,
        4.230e9,
        (
            _source("resnext50_32x4d-7cdf4587.pth", 25_028_904, 77.618),
            _source("resnext50_32x4d-1a0047aa.pth", 25_028_904, 81.198, 232),
        ),
    ),
    (101, 32, 4, 44_177_704, 7.970e9, ()),
    (
        101,
        32,
        8,
        88_791_336,
        16.414e9,
        (
            _source("resnext101_32x8d-8ba56ff5.pth", 88_791_336, 79.312),
            _source("resnext101_32x8d-110c445d.pth", 88_791_336, 82.834, 232),
        ),
    ),
    (
        101,
        64,
        4,
        83_455_272,
        15.460e9,
        (_source("resnext101_64x4d-173b62eb.pth", 83_455_272, 83.246, 232),),
    ),
]

_SOURCES = {(depth, c, d): sources for depth, c, d, _, _, sources in _TABLE}


@keras.saving.register_keras_serializable("kdl")
class ResNeXt(Application):
    """ResNeXt: residual blocks whose transformations are aggregated over many narrow branches.

    Stem 7×7/2 and max-pool, four stages of `ResNeXtBlock`, global average, classifier. A block of
    stage `s` (width 64 · 2ˢ) has `cardinality` branches of `⌊64 · 2ˢ · base_width / 64⌋` channels
    and gives `256 · 2ˢ`.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        depth: Number of layers with weights: 50 (default), 101 or 152, or the blocks of the four
            stages, such as `(2, 2, 2, 2)`.
        cardinality: Number of branches in a block. Defaults to 32.
        base_width: Channels of a branch in the first stage. Defaults to 4.
        form: Form of the blocks, `"a"`, `"b"` or `"c"` (default); all three compute the same. See
            `kdl.layers.ResNeXtBlock`. Published weights need `"c"`.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (torchvision's first weights), or the path of a
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

    Source: ResNeXt (arXiv 1611.05431), table 1.

    Example:
        >>> model = ResNeXt((1, 1, 1, 1), 8, 4, input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth=50,
        cardinality=32,
        base_width=4,
        form="c",
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
            planes = PLANES[stage]
            return ResNeXtBlock(
                4 * planes,
                cardinality,
                planes * base_width // 64,
                step,
                dilation,
                form,
                name=block_name,
                **block_arguments,
            )

        x = stem(inputs, (64,), make, strides)
        x = strides.keep(chain(x, make.max_pool("stem_pool", strides.step(2)[0])))
        x = stages(x, repeats, block, strides)
        arguments = {
            "depth": depth,
            "cardinality": cardinality,
            "base_width": base_width,
            "form": form,
            "output_stride": output_stride,
            "padding": padding,
            **common.config(),
        }
        name = name or _name(depth, cardinality, base_width)
        super().__init__(inputs, common.head(x), strides, arguments, name)
        sources = _SOURCES.get((depth, cardinality, base_width), ()) if form == "c" else ()
        self.load_initial_weights(weights, sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
        """Names of the layers in torchvision and timm, which are the same."""
        return {"torchvision": _NAMES} if self.get_config()["form"] == "c" else {}


_NAMES = {
    "stem_conv": "conv1",
    "stem_bn": "bn1",
    "stage{stage}_block{block}/conv{i}": "layer{stage}.{block}.conv{i}",
    "stage{stage}_block{block}/bn{i}": "layer{stage}.{block}.bn{i}",
    "stage{stage}_block{block}/projection_conv": "layer{stage}.{block}.downsample.0",
    "stage{stage}_block{block}/projection_bn": "layer{stage}.{block}.downsample.1",
    "classifier": "fc",
}


def _name(depth, cardinality, base_width):
    size = depth if isinstance(depth, int) else "_".join(map(str, depth))
    return f"resnext{size}_{cardinality}x{base_width}d"


ResNeXt50 = variant("ResNeXt50", ResNeXt, depth=50)
ResNeXt101 = variant("ResNeXt101", ResNeXt, depth=101, base_width=8)

ENTRIES = [
    ModelEntry(
        _name(depth, cardinality, base_width),
        ResNeXt,
        {"depth": depth, "cardinality": cardinality, "base_width": base_width},
        parameters,
        macs,
        sources,
    )
    for depth, cardinality, base_width, parameters, macs, sources in _TABLE
]
