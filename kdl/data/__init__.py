"""Images for training: readers, the embedded digits, and how a model wants its input."""

from kdl import _lazy
from kdl.data.digits import digits
from kdl.data.input_spec import InputSpec
from kdl.data.mixup import Mixup
from kdl.data.model_info import (
    ModelInfo,
    get_model_info,
    read_model_info,
    set_model_info,
    write_model_info,
)
from kdl.data.random_shift import RandomShift
from kdl.data.reading import read_samples
from kdl.data.samples import Samples

__all__ = [
    "ArrayDataset",
    "Augmentation",
    "ImageFolder",
    "InputSpec",
    "Mixup",
    "ModelInfo",
    "PKSampler",
    "RandomShift",
    "Samples",
    "digits",
    "get_model_info",
    "read_image_folder",
    "read_model_info",
    "read_samples",
    "set_model_info",
    "write_model_info",
]

# These are Keras's data sets; what stands above works without Keras.
_NEED_KERAS = {
    "ArrayDataset": "array_dataset",
    "Augmentation": "augmentation",
    "ImageFolder": "image_folder",
    "PKSampler": "pk_sampler",
    "read_image_folder": "image_folder",
}

__getattr__, __dir__ = _lazy.lazy_names(globals(), _NEED_KERAS)
