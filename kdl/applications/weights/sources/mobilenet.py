"""Weights of MobileNet: those of `keras.applications`, made from TensorFlow's checkpoints."""

from kdl.applications.weights.source import WeightSource

_URL = "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"


def _source(word, parameters, top1):
    file = f"mobilenet_{word}_224_tf.h5"
    return WeightSource(
        name=file,
        url=_URL + file,
        sha256=None,
        parameters=parameters,
        top1=top1,
        license="Apache-2.0 (TensorFlow models)",
        padding="same",
        preprocessing="tf",
    )


# alpha → sources; top-1 as published for the checkpoints.
IMAGENET = {
    0.25: (_source("2_5", 470_072, 49.8),),
    0.5: (_source("5_0", 1_331_592, 63.3),),
    0.75: (_source("7_5", 2_585_560, 68.4),),
    1.0: (_source("1_0", 4_231_976, 70.9),),
}
