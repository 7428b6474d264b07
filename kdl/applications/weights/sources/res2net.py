"""Weights of Res2Net, from its authors; those of the first networks are mirrored by timm."""

from kdl.applications.weights.source import WeightSource

_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-res2net/"
_AUTHORS = "https://shanghuagao.oss-cn-beijing.aliyuncs.com/res2net/"
_LICENSE = "CC BY-NC-SA 4.0, non-commercial use only (Res2Net)"


def _source(url, parameters, top1):
    return WeightSource.from_url(url, parameters, top1, _LICENSE, restricted=True)


# Depth, base width, scale, cardinality, variant → sources.
IMAGENET: dict[tuple, tuple[WeightSource, ...]] = {
    (50, 26, 4, 1, None): (_source(_TIMM + "res2net50_26w_4s-06e79181.pth", 25_699_120, 77.99),),
    (50, 26, 6, 1, None): (_source(_TIMM + "res2net50_26w_6s-19041792.pth", 37_051_448, 78.58),),
    (50, 26, 8, 1, None): (_source(_TIMM + "res2net50_26w_8s-2c7c9f12.pth", 48_403_776, 79.20),),
    (50, 48, 2, 1, None): (_source(_TIMM + "res2net50_48w_2s-afed724a.pth", 25_287_304, 77.32),),
    (50, 14, 8, 1, None): (_source(_TIMM + "res2net50_14w_8s-6527dddc.pth", 25_059_816, 78.14),),
    (101, 26, 4, 1, None): (_source(_TIMM + "res2net101_26w_4s-02a759a1.pth", 45_206_688, 79.19),),
    (50, 4, 4, 8, None): (_source(_TIMM + "res2next50_4s-6ef7e7bf.pth", 24_671_464, 78.24),),
    (50, 26, 4, 1, "v1b"): (
        _source(_AUTHORS + "res2net50_v1b_26w_4s-3cf99910.pth", 25_718_352, 80.27),
    ),
    (101, 26, 4, 1, "v1b"): (
        _source(_AUTHORS + "res2net101_v1b_26w_4s-0812c246.pth", 45_225_920, 81.23),
    ),
}
