"""Weights of MobileNetV2, from torchvision, timm and `keras.applications`."""

from kdl.applications.weights.source import WeightSource

_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
_BSD = "BSD-3-Clause (torchvision)"


def _torchvision(file, top1, resize=256):
    return WeightSource.from_url(_TORCHVISION + file, 3_504_872, top1, _BSD, resize=resize)


def _keras(alpha, parameters, top1):
    file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224.h5"
    return WeightSource(
        name=file,
        url=_KERAS + file,
        sha256=None,
        parameters=parameters,
        top1=top1,
        license="Apache-2.0 (TensorFlow models)",
        padding="same",
        preprocessing="tf",
    )


# alpha → sources; those of keras.applications were made from the checkpoints of TensorFlow's
# models, for which their top-1 is published.
IMAGENET = {
    0.35: (_keras(0.35, 1_677_128, 60.3),),
    0.5: (_keras(0.5, 1_968_680, 65.4),),
    0.75: (_keras(0.75, 2_636_424, 69.8),),
    1.0: (
        _torchvision("mobilenet_v2-b0353104.pth", 71.878),
        _torchvision("mobilenet_v2-7ebf99e0.pth", 72.154, resize=232),
        _keras(1.0, 3_504_872, 71.8),
    ),
    1.3: (_keras(1.3, 5_386_792, 74.4),),
    1.4: (
        WeightSource.from_url(
            _TIMM + "mobilenetv2_140_ra-21a4e913.pth", 6_108_776, 76.528, "Apache-2.0 (timm)"
        ),
        _keras(1.4, 6_108_776, 75.0),
    ),
}
