"""Res2Net and Res2NeXt (arXiv 1904.01169)."""

import keras

from kdl._checks import check_integer, is_integer
from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications._residual import PLANES, depth_name, outer_names, repeats_of, stages, stem
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.variant import variant as sized
from kdl.applications.weights.source import WeightSource
from kdl.layers._block import check_choice
from kdl.layers.blocks.res2net_block import Res2NetBlock, checked_scale

# The authors' files; those of the first networks are mirrored by timm.
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-res2net/"
_AUTHORS = "https://shanghuagao.oss-cn-beijing.aliyuncs.com/res2net/"
_LICENCE = "CC BY-NC-SA 4.0, non-commercial use only (Res2Net)"


def _source(folder, file, parameters, top1):
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    return WeightSource(file, folder + file, digits, parameters, top1, _LICENCE, restricted=True)


# Depth, base width, scale, cardinality, variant → parameters, multiply-adds, file, top-1.
_TABLE = {
    (50, 26, 4, 1, None): (25_699_120, 4.255e9, "res2net50_26w_4s-06e79181.pth", 77.99),
    (50, 26, 6, 1, None): (37_051_448, 6.296e9, "res2net50_26w_6s-19041792.pth", 78.58),
    (50, 26, 8, 1, None): (48_403_776, 8.336e9, "res2net50_26w_8s-2c7c9f12.pth", 79.20),
    (50, 48, 2, 1, None): (25_287_304, 4.160e9, "res2net50_48w_2s-afed724a.pth", 77.32),
    (50, 14, 8, 1, None): (25_059_816, 4.179e9, "res2net50_14w_8s-6527dddc.pth", 78.14),
    (101, 26, 4, 1, None): (45_206_688, 8.067e9, "res2net101_26w_4s-02a759a1.pth", 79.19),
    (50, 4, 4, 8, None): (24_671_464, 4.173e9, "res2next50_4s-6ef7e7bf.pth", 78.24),
    (50, 26, 4, 1, "v1b"): (25_718_352, 4.495e9, "res2net50_v1b_26w_4s-3cf99910.pth", 80.27),
    (101, 26, 4, 1, "v1b"): (45_225_920, 8.307e9, "res2net101_v1b_26w_4s-0812c246.pth", 81.23),
    (152, 26, 4, 1, "v1b"): (61_294_480, 12.118e9, None, None),
}


def _sources(key):
    parameters, _, file, top1 = _TABLE[key]
    folder = _TIMM if key[-1] is None else _AUTHORS
    return (_source(folder, file, parameters, top1),) if file else ()


IMAGENET = {key: _sources(key) for key in _TABLE}


@keras.saving.register_keras_serializable("kdl")
class Res2Net(Application):
    """Res2Net: a ResNet whose 3×3 convolutions are ladders that see several scales at once.

    Stem 7×7/2 and max-pool, four stages of `Res2NetBlock`, global average, classifier. A block of
    stage `s` (width 64 · 2ˢ) has `scale` groups of `cardinality · ⌊64 · 2ˢ · base_width / 64⌋`
    channels and gives `256 · 2ˢ`. With a `cardinality` above 1 it is a Res2NeXt.

    `variant="v1b"` has a stem of three 3×3 convolutions (32, 32 and 64 channels) and shortcuts that
    halve the size by averaging.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        depth: Number of layers with weights: 50 (default), 101 or 152, or the blocks of the four
            stages, such as `(2, 2, 2, 2)`.
        base_width: Channels of a group in the first stage, for each of `cardinality`. Defaults to
            26.
        scale: Number of groups in a block, at least 2. Defaults to 4.
        cardinality: Groups of each 3×3 convolution. Defaults to 1.
        variant: None (default) or `"v1b"`.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation. Averages give up
            their stride, but are not dilated.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (the authors' weights, for non-commercial use only),
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

    Source: Res2Net (arXiv 1904.01169), section 3, and the authors' code
    (Res2Net/Res2Net-PretrainedModels).

    Example:
        >>> model = Res2Net((1, 1, 1, 1), 8, 4, input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth=50,
        base_width=26,
        scale=4,
        cardinality=1,
        variant=None,
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
        base_width = check_integer("base_width", base_width)
        scale = checked_scale(scale)
        cardinality = check_integer("cardinality", cardinality)
        check_choice("variant", variant, (None, "v1b"))
        key = (
            int(depth) if is_integer(depth) else repeats,
            base_width,
            scale,
            cardinality,
            variant,
        )
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
            return Res2NetBlock(
                4 * planes,
                planes * base_width // 64 * cardinality,
                scale,
                cardinality,
                step,
                dilation,
                stage_start=index == 0,
                average_shortcut=variant == "v1b",
                name=block_name,
                **block_arguments,
            )

        x = stem(inputs, (32, 32, 64) if variant == "v1b" else (64,), make, strides)
        x = strides.keep(chain(x, make.max_pool("stem_pool", strides.step(2)[0])))
        x = stages(x, repeats, block, strides)
        arguments = {
            "depth": int(depth) if is_integer(depth) else list(repeats),
            "base_width": base_width,
            "scale": scale,
            "cardinality": cardinality,
            "variant": variant,
            "output_stride": output_stride,
            "padding": padding,
            **common.config(),
        }
        super().__init__(inputs, common.head(x), strides, arguments, name or _name(*key))
        self.load_initial_weights(weights, IMAGENET.get(key, ()))

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
        """Names of the layers in the authors' code and in timm, which are the same."""
        deep = self.get_config()["variant"] == "v1b"
        return {"timm": _NAMES | outer_names(deep)}


_NAMES = {
    "stage{stage}_block{block}/conv1": "layer{stage}.{block}.conv1",
    "stage{stage}_block{block}/bn1": "layer{stage}.{block}.bn1",
    "stage{stage}_block{block}/conv2_{i}": "layer{stage}.{block}.convs.{i}",
    "stage{stage}_block{block}/bn2_{i}": "layer{stage}.{block}.bns.{i}",
    "stage{stage}_block{block}/conv3": "layer{stage}.{block}.conv3",
    "stage{stage}_block{block}/bn3": "layer{stage}.{block}.bn3",
}


def _name(depth, base_width, scale, cardinality, variant):
    kind = f"_{variant}" if variant else ""
    size = depth_name(depth)
    if cardinality == 1:
        return f"res2net{size}{kind}_{base_width}w_{scale}s"
    if (base_width, scale, cardinality) == (4, 4, 8):
        return f"res2next{size}{kind}"
    return f"res2next{size}{kind}_{cardinality}x{base_width}w_{scale}s"


Res2Net50 = sized("Res2Net50", Res2Net, depth=50)
Res2Net101 = sized("Res2Net101", Res2Net, depth=101)
Res2NeXt50 = sized("Res2NeXt50", Res2Net, depth=50, base_width=4, cardinality=8)

_FIELDS = ("depth", "base_width", "scale", "cardinality", "variant")

ENTRIES = [
    ModelEntry(
        _name(*key), Res2Net, dict(zip(_FIELDS, key, strict=True)), parameters, macs, IMAGENET[key]
    )
    for key, (parameters, macs, *_) in _TABLE.items()
]
