"""Image preprocessing that published weights expect, and the names of ImageNet's classes."""

from typing import Any

import keras
import numpy as np

from kdl._checks import check_choice
from kdl._typing import ArrayLike, Tensor
from kdl.data.input_spec import InputSpec
from kdl.ops.channels import channel_axis

# Mean and deviation of ImageNet's channels R, G, B on the scale 0 … 1.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)

# Mean of ImageNet's channels B, G, R on the scale 0 … 255, as Caffe's models subtract it.
_CAFFE_MEAN = (104.0, 117.0, 123.0)


def scale_torch(images: ArrayLike, data_format: str | None = None) -> Tensor:
    """`(x / 255 − mean) / deviation` per channel, as torchvision and most of timm scale.

    Args:
        images: Array or tensor of RGB images, values 0…255, any dtype; it is not changed.
        data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

    Returns:
        Float32 images of the same shape: an array for an array, a tensor for a tensor.

    Example:
        >>> white = np.full((1, 1, 1, 3), 255, "uint8")
        >>> [round(float(v), 2) for v in scale_torch(white, "channels_last").ravel()]
        [2.25, 2.43, 2.64]
    """
    mean, deviation = (_per_channel(v, data_format) for v in (_MEAN, _DEVIATION))
    return (_floats(images) / 255.0 - mean) / deviation


def scale_tf(images: ArrayLike, data_format: str | None = None) -> Tensor:
    """`x / 127.5 − 1`, as TensorFlow's mobile models and `keras.applications` scale.

    Args:
        images: Array or tensor of RGB images, values 0…255, any dtype; it is not changed.
        data_format: Not used: all channels have the same scale.

    Returns:
        Float32 images of the same shape, −1…1.

    Example:
        >>> [float(v) for v in scale_tf(np.array([0, 255], "uint8"))]
        [-1.0, 1.0]
    """
    return _floats(images) / 127.5 - 1.0


def scale_bgr(images: ArrayLike, data_format: str | None = None) -> Tensor:
    """Channels in the order B, G, R, values 0…255, as the models of Megvii take them.

    Args:
        images: Array or tensor of RGB images, values 0…255, any dtype; it is not changed.
        data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

    Returns:
        Float32 images of the same shape.

    Example:
        >>> scale_bgr(np.array([[[[1, 2, 3]]]], "uint8"), "channels_last").ravel().tolist()
        [3.0, 2.0, 1.0]
    """
    axis = channel_axis(data_format or keras.config.image_data_format())
    images = _floats(images)
    return np.flip(images, axis) if isinstance(images, np.ndarray) else keras.ops.flip(images, axis)


def scale_caffe(images: ArrayLike, data_format: str | None = None) -> Tensor:
    """Channels in the order B, G, R, minus 104, 117 and 123, as Caffe's models take them.

    Args:
        images: Array or tensor of RGB images, values 0…255, any dtype; it is not changed.
        data_format: `"channels_last"` or `"channels_first"`; Keras's setting by default.

    Returns:
        Float32 images of the same shape.

    Example:
        >>> scale_caffe(np.array([[[[123, 117, 104]]]]), "channels_last").ravel().tolist()
        [0.0, 0.0, 0.0]
    """
    return scale_bgr(images, data_format) - _per_channel(_CAFFE_MEAN, data_format)


# Name of a scale → arguments of the `InputSpec` that computes the same from bytes.
_SPECS: dict[str, dict[str, Any]] = {
    "torch": {"mean": _MEAN, "std": _DEVIATION},
    "tf": {"mean": (0.5,) * 3, "std": (0.5,) * 3},
    "bgr": {"std": (1 / 255,) * 3, "color": "bgr"},
    "caffe": {
        "mean": tuple(mean / 255 for mean in _CAFFE_MEAN),
        "std": (1 / 255,) * 3,
        "color": "bgr",
    },
}


def input_spec(preprocessing: str, size: tuple[int, int]) -> InputSpec:
    """`kdl.data.InputSpec` that scales images as one of the functions above does.

    Args:
        preprocessing: `"torch"`, `"tf"`, `"bgr"` or `"caffe"`.
        size: `(height, width)`.

    Raises:
        ValueError: If there is no such scale.

    Example:
        >>> input_spec("tf", (96, 96)).mean
        (0.5, 0.5, 0.5)
    """
    check_choice("preprocessing", preprocessing, tuple(_SPECS))
    return InputSpec(size, **_SPECS[preprocessing])


def decode_predictions(predictions: ArrayLike, top: int = 5) -> list:
    """Decode scores to ImageNet's classes: per image, `(WordNet id, name, score)`, best first.

    Args:
        predictions: Array `(batch, 1000)`.
        top: How many classes to give. Defaults to 5.

    Raises:
        ValueError: If there are not 1000 classes.
    """
    return keras.applications.imagenet_utils.decode_predictions(predictions, top=top)


def _floats(images):
    if isinstance(images, np.ndarray):
        return images.astype("float32")
    return keras.ops.cast(images, "float32")


def _per_channel(values, data_format):
    axis = channel_axis(data_format or keras.config.image_data_format())
    return np.asarray(values, "float32").reshape((1, 1, 3) if axis == -1 else (3, 1, 1))
