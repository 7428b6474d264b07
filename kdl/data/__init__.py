"""Pictures for training: readers, the embedded digits, and how a model wants its input."""

from kdl.data.array_dataset import ArrayDataset
from kdl.data.digits import digits
from kdl.data.image_folder import ImageFolder, read_image_folder
from kdl.data.input_spec import InputSpec
from kdl.data.model_info import ModelInfo, read_model_info, write_model_info
from kdl.data.random_shift import RandomShift
