"""Weights of the squeeze-and-excitation networks, from timm and Cadene's collection."""

from kdl.applications.weights.source import WeightSource

_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/"
_CADENE = "http://data.lip6.fr/cadene/pretrainedmodels/"


def _timm(file, parameters, top1):
    return WeightSource.from_url(_TIMM + file, parameters, top1, "Apache-2.0 (SENet, timm)")


def _cadene(file, parameters, top1):
    license = "Apache-2.0 (SENet, ported by Cadene)"
    return WeightSource.from_url(_CADENE + file, parameters, top1, license)


# Depth, cardinality, base width, layout → sources.
IMAGENET: dict[tuple, tuple[WeightSource, ...]] = {
    (50, 1, 64, "caffe"): (_timm("v0.1-cadene/se_resnet50-ce0d4300.pth", 28_088_024, 77.650),),
    (101, 1, 64, "caffe"): (_timm("v0.1-cadene/se_resnet101-7e38fcc6.pth", 49_326_872, 78.370),),
    (152, 1, 64, "caffe"): (_timm("v0.1-cadene/se_resnet152-d17c99b7.pth", 66_821_848, 78.662),),
    (50, 32, 4, "caffe"): (
        _timm("v0.1-weights/legacy_se_resnext50_32x4d-f3651bad.pth", 27_559_896, 79.080),
        _cadene("se_resnext50_32x4d-a260b3a4.pth", 27_559_896, 79.03),
    ),
    (101, 32, 4, "caffe"): (
        _timm("v0.1-weights/legacy_se_resnext101_32x4d-37725eac.pth", 48_955_416, 80.274),
        _cadene("se_resnext101_32x4d-3b2fe3d8.pth", 48_955_416, 80.19),
    ),
    (152, 64, 4, "senet"): (
        _timm("v0.1-weights/legacy_senet154-e9eb9fe6.pth", 115_088_984, 81.320),
        _cadene("senet154-c7b49a05.pth", 115_088_984, 81.32),
    ),
    (50, 1, 64, "timm"): (
        _timm("v0.1-weights/seresnet50_ra_224-8efdb4bb.pth", 28_088_024, 80.260),
    ),
}
