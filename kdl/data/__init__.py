"""Pictures for training: readers, the embedded digits, and how a model wants its input."""

from kdl import _lazy
from kdl.data.digits import digits
from kdl.data.input_spec import InputSpec
from kdl.data.mixup import Mixup
from kdl.data.model_info import ModelInfo, read_model_info, write_model_info
from kdl.data.random_shift import RandomShift

# These are Keras's data sets; what stands above works without Keras.
_NEED_KERAS = {
    "ArrayDataset": "array_dataset",
    "Augmentation": "augmentation",
    "ImageFolder": "image_folder",
    "PKSampler": "pk_sampler",
    "read_image_folder": "image_folder",
}

__getattr__, __dir__ = _lazy.lazy_names(globals(), _NEED_KERAS)
