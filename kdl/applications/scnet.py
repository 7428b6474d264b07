"""SCNet (CVPR 2020)."""

import keras

from kdl._checks import is_integer
from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications._residual import PLANES, depth_name, outer_names, repeats_of, stages, stem
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.variant import variant as sized
from kdl.applications.weights.source import WeightSource
from kdl.layers._block import check_choice
from kdl.layers.blocks.self_calibrated_block import SelfCalibratedBlock

_URL = "https://backseason.oss-cn-beijing.aliyuncs.com/scnet/"
_LICENCE = "MIT (MCG-NKU/SCNet)"


def _source(file, parameters, top1):
    digits = file.removesuffix(".pth").rsplit("-", 1)[1]
    return WeightSource(file, _URL + file, digits, parameters, top1, _LICENCE)


# Rows of the registry: depth, variant, parameters, multiply-adds, weights.
_TABLE = [
    (50, None, 25_564_584, 3.925e9, (_source("scnet50-dc6a7e87.pth", 25_564_584, 77.81),)),
    (101, None, 44_565_416, 7.169e9, (_source("scnet101-44c5b751.pth", 44_565_416, 78.94),)),
    (50, "v1d", 25_583_816, 4.685e9, (_source("scnet50_v1d-4109d1e1.pth", 25_583_816, 80.47),)),
    (101, "v1d", 44_689_192, 9.044e9, ()),
]

_SOURCES = {(depth, kind): sources for depth, kind, _, _, sources in _TABLE}


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
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), `"imagenet"` (the authors' weights, which they publish for all but
            the v1d of depth 101), or the path of a `.weights.h5`, `.keras`, `.pth` or
            `.safetensors` file.
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

    Source: Improving Convolutional Networks with Self-Calibrated Convolutions (CVPR 2020), and the
    authors' code (MCG-NKU/SCNet).

    Example:
        >>> model = SCNet((1, 1, 1, 1), input_shape=(32, 32, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        depth=50,
        variant=None,
        upsampling="nearest",
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
        check_choice("variant", variant, (None, "v1d"))
        check_choice("upsampling", upsampling, ("nearest", "bilinear"))
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

        x = stem(inputs, _stem_widths(depth, variant), make, strides)
        x = strides.keep(chain(x, make.max_pool("stem_pool", strides.step(2)[0])))
        x = stages(x, repeats, block, strides)
        arguments = {
            "depth": int(depth) if is_integer(depth) else list(repeats),
            "variant": variant,
            "upsampling": upsampling,
            "output_stride": output_stride,
            "padding": padding,
            **common.config(),
        }
        super().__init__(inputs, common.head(x), strides, arguments, name or _name(depth, variant))
        self.load_initial_weights(weights, _published(depth, variant, upsampling))

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self):
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
    return _SOURCES.get((depth, variant), ()) if known else ()


def _name(depth, variant):
    return f"scnet{depth_name(depth)}" + (f"_{variant}" if variant else "")


SCNet50 = sized("SCNet50", SCNet, depth=50)
SCNet101 = sized("SCNet101", SCNet, depth=101)

ENTRIES = [
    ModelEntry(
        _name(depth, kind), SCNet, {"depth": depth, "variant": kind}, parameters, macs, sources
    )
    for depth, kind, parameters, macs, sources in _TABLE
]
