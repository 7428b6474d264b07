"""Image classifiers, one family a file, which are also the backbones."""

from kdl.applications.registry import ModelEntry, create_model, list_models
from kdl.applications.shufflenet_v2 import ShuffleNetV2
from kdl.applications.weights.convert import load_torch_weights
