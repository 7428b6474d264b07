"""Weights of MobileNetV3, from torchvision."""

from kdl.applications.weights.source import WeightSource

# variant → sources.
IMAGENET = {
    "large": (
        WeightSource.from_url(
            "https://download.pytorch.org/models/mobilenet_v3_large-8738ca79.pth",
            5_483_032,
            74.042,
            "BSD-3-Clause (torchvision)",
        ),
    ),
    "small": (),
}
