"""ShuffleNet V2: channel split and channel shuffle (arXiv 1807.11164)."""

import keras

from kdl._checks import check_choice
from kdl._registry import ModelEntry
from kdl._typing import Activation, ArrayLike, DType, Path, Shape, Tensor
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_bgr, scale_torch
from kdl.applications.weights.names import shufflenet_v2 as names
from kdl.applications.weights.sources.shufflenet_v2 import IMAGENET
from kdl.layers.blocks.shuffle_unit_v2 import ShuffleUnitV2

_UNITS = (4, 8, 4)
_VARIANTS = ("torchvision", "megvii")

# alpha → widths of stages 2, 3, 4 and of the last convolution (paper, table 5).
_WIDTHS = {
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}

# depth → widths of the stem, then (width, units) of each stage (paper, appendix); the first stage
# keeps the size, and 2048 channels end both.
_DEEP = {
    50: ((64,), ((244, 3), (488, 4), (976, 6), (1952, 3))),
    164: ((64, 64, 128), ((340, 10), (680, 10), (1360, 23), (2720, 10))),
}


@keras.saving.register_keras_serializable("kdl")
class ShuffleNetV2(Application):
    """ShuffleNet V2: a classifier for phones, and a backbone.

    Stem 3×3/2 and max-pool, three stages of `ShuffleUnitV2` (4, 8 and 4 units, the first of each
    with stride 2), 1×1 convolution, global average, classifier. The deep networks of the paper's
    appendix have four stages, the first with stride 1.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        alpha: Width multiplier: 0.5, 1.0 (default), 1.5 or 2.0.
        variant: `"torchvision"` (default) or `"megvii"` (the authors' code, whose multiply-adds
            are those of the paper). See `kdl.layers.ShuffleUnitV2`.
        depth: None (default), or 50 or 164 for the deep networks, with `alpha=1.0`; the deeper one
            has residual units.
        squeeze_ratio: Reduction of a squeeze-and-excitation in each unit of a deep network, or None
            (default). The paper's SE-ShuffleNet V2-164 does not tell its ratio; 16 is usual.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        weights: None (default), `"imagenet"` (torchvision's weights), or the path of a
            `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: ShuffleNet V2 (arXiv 1807.11164), table 5 and appendix.

    Example:
        >>> model = ShuffleNetV2(0.5, input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        variant: str = "torchvision",
        depth: int | None = None,
        squeeze_ratio: int | None = None,
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
        check_choice("alpha", alpha, sorted(_WIDTHS))
        check_choice("variant", variant, _VARIANTS)
        _check_depth(depth, alpha, squeeze_ratio)
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        unit = common.block_arguments(factory)
        unit |= {"variant": variant, "squeeze_ratio": squeeze_ratio, "residual": depth == 164}
        x = strides.record(_stem(inputs, _DEEP[depth][0] if depth else (24,), factory, strides))
        x = strides.record(chain(x, factory.max_pool("stem_pool", strides.next(2)[0])))
        for stage, index, filters, ask in _units(alpha, depth):
            step, dilation = strides.next(ask)
            x = ShuffleUnitV2(
                filters, step, dilation_rate=dilation, name=f"stage{stage}_unit{index}", **unit
            )(x)
            strides.record(x)
        last = 2048 if depth else _WIDTHS[alpha][-1]
        x = strides.record(chain(x, _conv_norm_relu(factory, last, 1, "head")))
        outputs = common.head(
            x,
            dropout=0.2 if variant == "megvii" and alpha == 2.0 else 0.0,
            use_bias=variant == "torchvision",
        )
        default_name = _name(alpha, variant, depth, squeeze_ratio)
        published = variant == "torchvision" and depth is None
        sources = (IMAGENET[alpha],) if published else ()
        super().__init__(own, common, strides, outputs, default_name, sources)

    @staticmethod
    def preprocess_input(
        images: ArrayLike, variant: str = "torchvision", data_format: str | None = None
    ) -> Tensor:
        """Scales RGB images of 0…255 as the published weights expect them.

        torchvision: `(x / 255 − mean) / std` per channel. Megvii: channels in BGR order, 0…255.

        Args:
            images: Array or tensor of RGB images, values 0…255; it is not changed.
            variant: `"torchvision"` (default) or `"megvii"`.
            data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

        Returns:
            Float images of the same shape.

        Example:
            >>> import numpy as np
            >>> white = np.full((1, 1, 1, 3), 255, "uint8")
            >>> [round(float(v), 2) for v in ShuffleNetV2.preprocess_input(white).ravel()]
            [2.25, 2.43, 2.64]
        """
        check_choice("variant", variant, _VARIANTS)
        return (scale_torch if variant == "torchvision" else scale_bgr)(images, data_format)

    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision or in the authors' code."""
        arguments = self.get_config()
        if arguments["depth"]:
            return {}
        if arguments["variant"] == "torchvision":
            return {"torchvision": names.torchvision()}
        units = [(stage, index) for stage, index, *_ in _units(arguments["alpha"], None)]
        return {"megvii": names.megvii(units)}


def _check_depth(depth, alpha, squeeze_ratio):
    check_choice("depth", depth, (None, *_DEEP))
    if depth and alpha != 1.0:
        raise ValueError(f"depth={depth} comes in one width, alpha=1.0; received alpha={alpha!r}.")
    if squeeze_ratio and not depth:
        raise ValueError("squeeze_ratio is for the deep networks: pass depth=50 or depth=164.")


def _name(alpha, variant, depth, squeeze_ratio):
    suffix = "" if variant == "torchvision" else f"_{variant}"
    if depth:
        return f"{'se_' if squeeze_ratio else ''}shufflenet_v2_{depth}{suffix}"
    return f"shufflenet_v2_x{str(float(alpha)).replace('.', '_')}{suffix}"


def _units(alpha, depth):
    """`(stage, index, filters, strides)` of each unit; stages count from 2 as in the paper."""
    stages = _DEEP[depth][1] if depth else zip(_WIDTHS[alpha], _UNITS, strict=False)
    for stage, (filters, units) in enumerate(stages, start=2):
        for index in range(units):
            first_of_stage = index == 0 and not (depth and stage == 2)
            yield stage, index, filters, 2 if first_of_stage else 1


def _stem(x, widths, factory, strides):
    for index, filters in enumerate(widths):
        step = strides.next(2)[0] if index == 0 else 1
        name = "stem" if index == 0 else f"stem{index + 1}"
        x = chain(x, _conv_norm_relu(factory, filters, 3, name, step))
    return x


def _conv_norm_relu(factory, filters, kernel_size, name, strides=1):
    return [
        *factory.conv(filters, kernel_size, f"{name}_conv", strides),
        factory.norm(f"{name}_bn"),
        factory.relu(f"{name}_relu"),
    ]


# (arguments) → trainable parameters and multiply-adds at 224² with 1000 classes.
_COUNTS = [
    ({"alpha": 0.5}, 1_366_792, 40.5e6),
    ({"alpha": 1.0}, 2_278_604, 144.9e6),
    ({"alpha": 1.5}, 3_503_624, 295.8e6),
    ({"alpha": 2.0}, 7_393_996, 583.3e6),
    ({"alpha": 0.5, "variant": "megvii"}, 1_365_792, 40.5e6),
    ({"alpha": 1.0, "variant": "megvii"}, 2_278_760, 145.8e6),
    ({"alpha": 1.5, "variant": "megvii"}, 3_506_720, 299.0e6),
    ({"alpha": 2.0, "variant": "megvii"}, 7_402_600, 590.8e6),
    ({"depth": 50}, 16_573_534, 2.304e9),
    ({"depth": 164}, 71_878_896, 12.54e9),
    ({"depth": 164, "squeeze_ratio": 16}, 75_717_922, None),
]


def _entry(arguments, parameters, macs):
    full = {"alpha": 1.0, "variant": "torchvision", "depth": None, "squeeze_ratio": None}
    full |= arguments
    published = full["variant"] == "torchvision" and not full["depth"]
    sources = (IMAGENET[full["alpha"]],) if published else ()
    return ModelEntry(_name(**full), ShuffleNetV2, arguments, parameters, macs, sources)


ENTRIES = [_entry(*row) for row in _COUNTS]
