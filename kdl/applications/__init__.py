"""Image classifiers, one family a file, which are also the backbones."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.applications.mobilenet import MobileNet
from kdl.applications.mobilenet_v2 import MobileNetV2
from kdl.applications.model_entry import ModelEntry
from kdl.applications.nasnet import NASNet, NASNetLarge, NASNetMobile
from kdl.applications.pyramid import pyramid
from kdl.applications.registry import create_model, list_models
from kdl.applications.res2net import Res2Net, Res2Net50, Res2Net101, Res2NeXt50
from kdl.applications.resnet import ResNet, ResNet50, ResNet101
from kdl.applications.resnext import ResNeXt, ResNeXt50, ResNeXt101
from kdl.applications.scnet import SCNet, SCNet50, SCNet101
from kdl.applications.se_inception import SEInception
from kdl.applications.senet import (
    SENet154,
    SEResNet,
    SEResNet50,
    SEResNet101,
    SEResNet152,
    SEResNeXt50,
    SEResNeXt101,
)
from kdl.applications.shufflenet import ShuffleNet
from kdl.applications.shufflenet_v2 import ShuffleNetV2
from kdl.applications.squeezenet import SqueezeNet
from kdl.applications.weights.convert import load_keras_weights, load_torch_weights
from kdl.graph.macs import macs

__all__ = [
    "MobileNet",
    "MobileNetV2",
    "ModelEntry",
    "NASNet",
    "NASNetLarge",
    "NASNetMobile",
    "Res2NeXt50",
    "Res2Net",
    "Res2Net50",
    "Res2Net101",
    "ResNeXt",
    "ResNeXt50",
    "ResNeXt101",
    "ResNet",
    "ResNet50",
    "ResNet101",
    "SCNet",
    "SCNet50",
    "SCNet101",
    "SEInception",
    "SENet154",
    "SEResNeXt50",
    "SEResNeXt101",
    "SEResNet",
    "SEResNet50",
    "SEResNet101",
    "SEResNet152",
    "ShuffleNet",
    "ShuffleNetV2",
    "SqueezeNet",
    "create_model",
    "list_models",
    "load_keras_weights",
    "load_torch_weights",
    "macs",
    "pyramid",
]

__dir__ = _lazy.names_in_all(globals())
