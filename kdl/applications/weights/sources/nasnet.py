"""Weights of NASNet-A: the authors' own, as `keras.applications` and timm have ported them."""

from kdl.applications.weights.source import WeightSource

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/nasnet/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"


def _keras(name, file, parameters, top1, **crop):
    return WeightSource(
        name=name,
        url=_KERAS + file,
        sha256=None,
        parameters=parameters,
        top1=top1,
        license="Apache-2.0 (keras.applications)",
        padding="same",
        preprocessing="tf",
        **crop,
    )


# timm measured them with its own way of pooling.
_TIMM_LARGE = WeightSource.from_url(
    _TIMM + "nasnetalarge-dc4a7b8b.pth",
    88_753_150,
    82.638,
    "Apache-2.0 (timm)",
    resize=363,
    crop=331,
    padding="same",
    preprocessing="tf",
)

# Size, lineage → source.
IMAGENET = {
    ("mobile", "keras"): _keras("nasnet_mobile.h5", "NASNet-mobile.h5", 5_289_978, 74.0),
    ("large", "slim"): _TIMM_LARGE,
    ("large", "timm"): _TIMM_LARGE,
    ("large", "keras"): _keras(
        "nasnet_large.h5", "NASNet-large.h5", 88_753_150, 82.7, resize=363, crop=331
    ),
}
