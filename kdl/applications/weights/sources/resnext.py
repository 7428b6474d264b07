"""Weights of ResNeXt, from torchvision."""

from kdl.applications.weights.source import WeightSource

_URL = "https://download.pytorch.org/models/"
_BSD = "BSD-3-Clause (torchvision)"


def _source(file, parameters, top1, resize=256):
    return WeightSource.from_url(_URL + file, parameters, top1, _BSD, resize=resize)


# Depth, cardinality, base width → sources, of `form="c"`.
IMAGENET: dict[tuple, tuple[WeightSource, ...]] = {
    (50, 32, 4): (
        _source("resnext50_32x4d-7cdf4587.pth", 25_028_904, 77.618),
        _source("resnext50_32x4d-1a0047aa.pth", 25_028_904, 81.198, resize=232),
    ),
    (101, 32, 8): (
        _source("resnext101_32x8d-8ba56ff5.pth", 88_791_336, 79.312),
        _source("resnext101_32x8d-110c445d.pth", 88_791_336, 82.834, resize=232),
    ),
    (101, 64, 4): (_source("resnext101_64x4d-173b62eb.pth", 83_455_272, 83.246, resize=232),),
}
