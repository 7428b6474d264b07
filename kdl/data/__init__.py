"""Images for training: readers, the embedded digits, and how a model wants its input."""

from kdl import _lazy
from kdl.data.bar_masks import bar_masks
from kdl.data.detection_samples import DetectionSamples
from kdl.data.digit_masks import digit_masks
from kdl.data.digit_scenes import digit_scenes
from kdl.data.digits import digits
from kdl.data.input_spec import InputSpec
from kdl.data.instance_targets import instance_targets
from kdl.data.mixup import Mixup
from kdl.data.model_info import (
    ModelInfo,
    get_model_info,
    read_model_info,
    set_model_info,
    write_model_info,
)
from kdl.data.random_expand import RandomExpand
from kdl.data.random_horizontal_flip import RandomHorizontalFlip
from kdl.data.random_iou_crop import RandomIoUCrop
from kdl.data.random_shift import RandomShift
from kdl.data.random_subset import random_subset
from kdl.data.read_characters import read_characters
from kdl.data.read_coco import read_coco
from kdl.data.read_instance_masks import read_instance_masks
from kdl.data.read_label_maps import read_label_maps
from kdl.data.read_voc import read_voc
from kdl.data.reading import read_samples
from kdl.data.samples import Samples

__all__ = [
    "ArrayDataset",
    "Augmentation",
    "DetectionDataset",
    "DetectionSamples",
    "ImageFolder",
    "InputSpec",
    "Mixup",
    "ModelInfo",
    "PKSampler",
    "RandomExpand",
    "RandomHorizontalFlip",
    "RandomIoUCrop",
    "RandomShift",
    "Samples",
    "bar_masks",
    "digit_masks",
    "digit_scenes",
    "digits",
    "get_model_info",
    "instance_targets",
    "load_image_folder",
    "random_subset",
    "read_characters",
    "read_coco",
    "read_image_folder",
    "read_instance_masks",
    "read_label_maps",
    "read_model_info",
    "read_samples",
    "read_voc",
    "set_model_info",
    "write_model_info",
]

# These are Keras's data sets; what stands above works without Keras.
_NEED_KERAS = {
    "ArrayDataset": "array_dataset",
    "Augmentation": "augmentation",
    "DetectionDataset": "detection_dataset",
    "ImageFolder": "image_folder",
    "PKSampler": "pk_sampler",
    "load_image_folder": "image_folder_arrays",
    "read_image_folder": "image_folder",
}

__getattr__, __dir__ = _lazy.lazy_names(globals(), _NEED_KERAS)
