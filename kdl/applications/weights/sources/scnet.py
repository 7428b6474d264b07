"""Weights of SCNet, from its authors."""

from kdl.applications.weights.source import WeightSource

_URL = "https://backseason.oss-cn-beijing.aliyuncs.com/scnet/"


def _source(file, parameters, top1):
    return WeightSource.from_url(_URL + file, parameters, top1, "MIT (MCG-NKU/SCNet)")


# Depth, variant → sources, of `upsampling="nearest"`.
IMAGENET: dict[tuple, tuple[WeightSource, ...]] = {
    (50, None): (_source("scnet50-dc6a7e87.pth", 25_564_584, 77.81),),
    (101, None): (_source("scnet101-44c5b751.pth", 44_565_416, 78.94),),
    (50, "v1d"): (_source("scnet50_v1d-4109d1e1.pth", 25_583_816, 80.47),),
}
