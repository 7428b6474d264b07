"""Weights of ShuffleNet V2, from torchvision."""

from kdl.applications.weights.source import WeightSource

_URL = "https://download.pytorch.org/models/"
_BSD = "BSD-3-Clause (torchvision)"


def _source(file, parameters, top1, resize=256):
    return WeightSource.from_url(_URL + file, parameters, top1, _BSD, resize=resize)


# alpha → source, of `variant="torchvision"`.
IMAGENET = {
    0.5: _source("shufflenetv2_x0.5-f707e7126e.pth", 1_366_792, 60.552),
    1.0: _source("shufflenetv2_x1-5666bf0f80.pth", 2_278_604, 69.362),
    1.5: _source("shufflenetv2_x1_5-3c479a10.pth", 3_503_624, 72.996, resize=232),
    2.0: _source("shufflenetv2_x2_0-8be3c8ee.pth", 7_393_996, 76.230, resize=232),
}
