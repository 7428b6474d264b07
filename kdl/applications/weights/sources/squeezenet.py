"""Weights of SqueezeNet, from torchvision."""

from kdl.applications.weights.source import WeightSource

_URL = "https://download.pytorch.org/models/"
_BSD = "BSD-3-Clause (torchvision)"

# version → source, of the network without bypasses.
IMAGENET = {
    "1.0": WeightSource.from_url(_URL + "squeezenet1_0-b66bff10.pth", 1_248_424, 58.092, _BSD),
    "1.1": WeightSource.from_url(_URL + "squeezenet1_1-b8a52dc0.pth", 1_235_496, 58.178, _BSD),
}
