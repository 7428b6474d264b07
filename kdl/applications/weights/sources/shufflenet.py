"""Weights of ShuffleNet, from mmpretrain."""

from kdl.applications.weights.source import WeightSource

_URL = "https://download.openmmlab.com/mmclassification/v0/shufflenet_v1/"

# Of `variant="mmpretrain"`.
IMAGENET = WeightSource.from_url(
    _URL + "shufflenet_v1_batch1024_imagenet_20200804-5d6cec73.pth",
    1_865_728,
    68.13,
    "Apache-2.0 (mmpretrain)",
)
