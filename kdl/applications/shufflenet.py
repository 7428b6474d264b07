"""ShuffleNet: grouped pointwise convolutions and channel shuffle (arXiv 1707.01083)."""

import math

import keras

from kdl._checks import check_choice
from kdl._registry import ModelEntry
from kdl._typing import Activation, ArrayLike, DType, Path, Shape, Tensor
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_bgr, scale_torch
from kdl.applications.weights.names import shufflenet as names
from kdl.applications.weights.sources.shufflenet import IMAGENET
from kdl.layers.blocks.shuffle_unit import VARIANTS, ShuffleUnit

_UNITS = (4, 8, 4)

# groups → width of stage 2 (paper, table 1); each further stage doubles it.
_WIDTHS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}

# variant → its width multipliers and numbers of groups.
_CHOICES = {
    "paper": ((0.25, 0.5, 1.0, 1.5, 2.0), (1, 2, 3, 4, 8)),
    "megvii": ((0.5, 1.0, 1.5, 2.0), (3, 8)),
    "mmpretrain": ((1.0,), (3,)),
}

# (variant, alpha, groups) → width of the stem where it is not the rounded one.
_STEMS = {("paper", 1.5, 8): 24, ("megvii", 1.5, 3): 24, ("megvii", 1.5, 8): 24}


@keras.saving.register_keras_serializable("kdl")
class ShuffleNet(Application):
    """ShuffleNet: a classifier for phones, and a backbone.

    Stem 3×3/2 and max-pool, three stages of `ShuffleUnit` (4, 8 and 4 units, the first of each with
    stride 2), global average, classifier. The first unit's first 1×1 convolution is not grouped.

    Widths are those of the paper's table 1 times `alpha`, rounded up to a multiple of `4 · groups`;
    24 channels of the stem, times `alpha`, to a multiple of `groups`. The paper does not tell how
    it rounds; this is the rule of tensorpack's implementation. With `alpha=1.5` and `groups=8` the
    stem has 24 channels, as in the authors' code.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` if the weights are published ones. Output: `(batch, classes)`, or the last
    feature map without top.

    Args:
        alpha: Width multiplier: 0.25, 0.5, 1.0 (default), 1.5 or 2.0.
        groups: Groups of the 1×1 convolutions: 1, 2, 3 (default), 4 or 8.
        variant: `"paper"` (default); `"megvii"`, the authors' code, with 3 or 8 groups and `alpha`
            from 0.5 on; or `"mmpretrain"`, with `alpha=1.0` and 3 groups. They differ in the
            shuffle, see `kdl.layers.ShuffleUnit`. With `"megvii"` the classifier has no bias, and
            the stem has 24 channels with `alpha=1.5`.
        squeeze_ratio: Reduction of a squeeze-and-excitation in each unit, or None (default). The
            paper's "ShuffleNet 2× with SE" tells neither its ratio nor its place; 16 is usual.
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation.
        padding: `"symmetric"` (default, as the references pad) or `"same"` (TensorFlow's rule).
            Published weights need `"symmetric"`.
        weights: None (default), `"imagenet"` (for `variant="mmpretrain"`), or the path of a
            `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: ShuffleNet (arXiv 1707.01083), table 1.

    Example:
        >>> model = ShuffleNet(0.25, groups=8, input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        alpha: float = 1.0,
        groups: int = 3,
        variant: str = "paper",
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
        check_choice("variant", variant, VARIANTS)
        alphas, numbers = _CHOICES[variant]
        _check_near("alpha", alpha, alphas, variant)
        _check_near("groups", groups, numbers, variant)
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        unit = common.block_arguments(factory)
        unit |= {"groups": groups, "variant": variant, "squeeze_ratio": squeeze_ratio}
        width = _stem_width(alpha, groups, variant)
        conv = factory.conv(width, 3, "stem_conv", strides.next(2)[0])
        norm, relu = factory.norm("stem_bn"), factory.relu("stem_relu")
        x = strides.record(chain(inputs, conv, norm, relu))
        x = strides.record(chain(x, factory.max_pool("stem_pool", strides.next(2)[0])))
        for stage, index, filters in _units(alpha, groups):
            step, dilation = strides.next(1 if index else 2)
            x = ShuffleUnit(
                filters,
                strides=step,
                group_first=(stage, index) != (2, 0),
                dilation_rate=dilation,
                name=f"stage{stage}_unit{index}",
                **unit,
            )(x)
            strides.record(x)
        outputs = common.head(x, use_bias=variant != "megvii")
        default_name = _name(alpha, groups, variant, squeeze_ratio)
        published = variant == "mmpretrain" and not squeeze_ratio
        sources = (IMAGENET,) if published else ()
        super().__init__(own, common, strides, outputs, default_name, sources)

    @staticmethod
    def preprocess_input(
        images: ArrayLike, variant: str = "paper", data_format: str | None = None
    ) -> Tensor:
        """Scales RGB images of 0…255 as the published weights expect them.

        paper, mmpretrain: `(x / 255 − mean) / std` per channel. Megvii: BGR order, 0…255.

        Args:
            images: Array or tensor of RGB images, values 0…255; it is not changed.
            variant: `"paper"` (default), `"megvii"` or `"mmpretrain"`.
            data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

        Returns:
            Float images of the same shape.

        Example:
            >>> import numpy as np
            >>> white = np.full((1, 1, 1, 3), 255, "uint8")
            >>> [round(float(v), 2) for v in ShuffleNet.preprocess_input(white).ravel()]
            [2.25, 2.43, 2.64]
        """
        check_choice("variant", variant, VARIANTS)
        return (scale_bgr if variant == "megvii" else scale_torch)(images, data_format)

    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in the authors' code or in mmpretrain."""
        arguments = self.get_config()
        if arguments["squeeze_ratio"] or arguments["variant"] == "paper":
            return {}
        if arguments["variant"] == "megvii":
            return {"megvii": names.megvii([(stage, index) for stage, index, _ in _units(1.0, 3)])}
        return {"mmpretrain": names.mmpretrain()}


def _check_near(name, value, choices, variant):
    """Raises ValueError unless `value` is one of `choices`; the nearest ones are named."""
    if value in choices and not isinstance(value, bool):
        return
    message = f'With variant="{variant}", {name} must be one of {choices}; received {value!r}.'
    if isinstance(value, int | float):
        near = sorted(sorted(choices, key=lambda choice: abs(choice - value))[:2])
        message += f" Nearest: {' and '.join(map(str, near))}."
    raise ValueError(message)


def _name(alpha, groups, variant, squeeze_ratio):
    prefix = "se_" if squeeze_ratio else ""
    suffix = "" if variant == "paper" else f"_{variant}"
    return f"{prefix}shufflenet_x{str(float(alpha)).replace('.', '_')}_g{groups}{suffix}"


def _stem_width(alpha, groups, variant):
    return _STEMS.get((variant, alpha, groups), _round_up(24 * alpha, groups))


def _units(alpha, groups):
    """`(stage, index, filters)` of each unit; stages count from 2 as in the paper."""
    for number, units in enumerate(_UNITS):
        filters = _round_up(_WIDTHS[groups] * 2**number * alpha, 4 * groups)
        for index in range(units):
            yield number + 2, index, filters


def _round_up(width, step):
    return math.ceil(width / step) * step


# variant → {alpha: trainable parameters with 1000 classes, by groups in the order of `_CHOICES`}.
_PARAMETERS: dict[str, dict[float, tuple[int, ...]]] = {
    "paper": {
        0.25: (209_746, 268_652, 305_902, 340_936, 454_504),
        0.5: (534_484, 644_320, 718_324, 778_592, 1_011_448),
        1.0: (1_531_936, 1_733_848, 1_865_728, 1_968_344, 2_434_768),
        1.5: (2_993_356, 3_274_180, 3_443_212, 3_576_796, 4_269_952),
        2.0: (4_918_744, 5_257_896, 5_450_776, 5_593_528, 6_522_232),
    },
    "megvii": {
        0.5: (717_324, 1_010_448),
        1.0: (1_864_728, 2_433_768),
        1.5: (3_441_168, 4_268_952),
        2.0: (5_449_776, 6_521_232),
    },
    "mmpretrain": {1.0: (1_865_728,)},
}

# (alpha, groups) → multiply-adds at 224², counted on the authors' network.
_MACS = {
    (0.5, 3): 37.6e6,
    (1.0, 3): 137.5e6,
    (1.5, 3): 292.4e6,
    (2.0, 3): 524.0e6,
    (0.5, 8): 40.5e6,
    (1.0, 8): 138.4e6,
    (1.5, 8): 290.2e6,
    (2.0, 8): 521.9e6,
}


def _entry(variant, alpha, groups, parameters):
    same_stem = _stem_width(alpha, groups, variant) == _stem_width(alpha, groups, "megvii")
    return ModelEntry(
        _name(alpha, groups, variant, None),
        ShuffleNet,
        {"alpha": alpha, "groups": groups, "variant": variant},
        parameters,
        _MACS.get((alpha, groups)) if same_stem else None,
        (IMAGENET,) if variant == "mmpretrain" else (),
    )


ENTRIES = [
    _entry(variant, alpha, groups, parameters)
    for variant, rows in _PARAMETERS.items()
    for alpha, row in rows.items()
    for groups, parameters in zip(_CHOICES[variant][1], row, strict=True)
]
