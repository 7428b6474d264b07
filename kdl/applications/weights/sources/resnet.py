"""Weights of ResNet, from torchvision."""

from typing import Any

from kdl.applications.weights.source import WeightSource

_URL = "https://download.pytorch.org/models/"
_BSD = "BSD-3-Clause (torchvision)"


def _source(file, parameters, top1, resize=256):
    return WeightSource.from_url(_URL + file, parameters, top1, _BSD, resize=resize)


# depth → sources, of the network with the default stem.
IMAGENET: dict[Any, tuple[WeightSource, ...]] = {
    50: (
        _source("resnet50-0676ba61.pth", 25_557_032, 76.130),
        _source("resnet50-11ad3fa6.pth", 25_557_032, 80.858, resize=232),
    ),
    101: (
        _source("resnet101-63fe2227.pth", 44_549_160, 77.374),
        _source("resnet101-cd907fc2.pth", 44_549_160, 81.886, resize=232),
    ),
}
