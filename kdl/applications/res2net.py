"""Res2Net and Res2NeXt: multi-scale residual networks (arXiv 1904.01169)."""

from collections.abc import Sequence

import keras

from kdl._checks import check_choice, check_integer
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications._residual import PLANES, checked_depth, depth_name, outer_names, stages, stem
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.sources.res2net import IMAGENET
from kdl.layers.blocks.res2net_block import Res2NetBlock, checked_scale

# Depth, base width, scale, cardinality, variant → trainable parameters and multiply-adds at 224².
_COUNTS = {
    (50, 26, 4, 1, None): (25_699_120, 4.255e9),
    (50, 26, 6, 1, None): (37_051_448, 6.296e9),
    (50, 26, 8, 1, None): (48_403_776, 8.336e9),
    (50, 48, 2, 1, None): (25_287_304, 4.160e9),
    (50, 14, 8, 1, None): (25_059_816, 4.179e9),
    (101, 26, 4, 1, None): (45_206_688, 8.067e9),
    (50, 4, 4, 8, None): (24_671_464, 4.173e9),
    (50, 26, 4, 1, "v1b"): (25_718_352, 4.495e9),
    (101, 26, 4, 1, "v1b"): (45_225_920, 8.307e9),
    (152, 26, 4, 1, "v1b"): (61_294_480, 12.118e9),
}


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
        weights: None (default), `"imagenet"` (the authors' weights, for non-commercial use only),
            or the path of a `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

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
        depth: int | Sequence[int] = 50,
        base_width: int = 26,
        scale: int = 4,
        cardinality: int = 1,
        variant: str | None = None,
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
        base_width = check_integer("base_width", base_width)
        scale = checked_scale(scale)
        cardinality = check_integer("cardinality", cardinality)
        check_choice("variant", variant, (None, "v1b"))
        own |= {
            "depth": depth if isinstance(depth, int) else list(depth),
            "base_width": base_width,
            "scale": scale,
            "cardinality": cardinality,
        }
        size = (depth, base_width, scale, cardinality)
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        block_arguments = common.block_arguments(factory)

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

        x = stem(inputs, (32, 32, 64) if variant == "v1b" else (64,), factory, strides)
        x = strides.record(chain(x, factory.max_pool("stem_pool", strides.next(2)[0])))
        x = stages(x, repeats, block, strides)
        sources = IMAGENET.get((*size, variant), ())
        super().__init__(own, common, strides, common.head(x), _name(*size, variant), sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
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


_FIELDS = ("depth", "base_width", "scale", "cardinality", "variant")

ENTRIES = [
    ModelEntry(
        _name(*key),
        Res2Net,
        dict(zip(_FIELDS, key, strict=True)),
        parameters,
        macs,
        IMAGENET.get(key, ()),
    )
    for key, (parameters, macs) in _COUNTS.items()
]
