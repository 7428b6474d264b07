"""ResNeXt: residual networks with grouped convolutions (arXiv 1611.05431)."""

from collections.abc import Sequence

import keras

from kdl._checks import check_integer
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications._residual import PLANES, checked_depth, stages, stem
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.sources.resnext import IMAGENET
from kdl.layers.blocks.resnext_block import ResNeXtBlock

# Depth, cardinality, base width → trainable parameters and multiply-adds at 224².
_COUNTS = {
    (50, 32, 4): (25_028_904, 4.230e9),
    (101, 32, 4): (44_177_704, 7.970e9),
    (101, 32, 8): (88_791_336, 16.414e9),
    (101, 64, 4): (83_455_272, 15.460e9),
}


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
        weights: None (default), `"imagenet"` (torchvision's first weights), or the path of a
            `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

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
        depth: int | Sequence[int] = 50,
        cardinality: int = 32,
        base_width: int = 4,
        form: str = "c",
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
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        block_arguments = common.block_arguments(factory)

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

        x = stem(inputs, (64,), factory, strides)
        x = strides.record(chain(x, factory.max_pool("stem_pool", strides.next(2)[0])))
        x = stages(x, repeats, block, strides)
        own |= {"depth": depth, "cardinality": cardinality, "base_width": base_width}
        size = (depth, cardinality, base_width)
        sources = IMAGENET.get(size, ()) if form == "c" else ()
        super().__init__(own, common, strides, common.head(x), _name(*size), sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
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


_FIELDS = ("depth", "cardinality", "base_width")

ENTRIES = [
    ModelEntry(
        _name(*size),
        ResNeXt,
        dict(zip(_FIELDS, size, strict=True)),
        parameters,
        macs,
        IMAGENET.get(size, ()),
    )
    for size, (parameters, macs) in _COUNTS.items()
]
