"""Image classifiers and backbones, one family a file; their published weights."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl._registry import ModelEntry
from kdl.applications.application import Application
from kdl.applications.mobilenet import MobileNet
from kdl.applications.mobilenet_v2 import MobileNetV2
from kdl.applications.mobilenet_v3 import MobileNetV3
from kdl.applications.nasnet import NASNet
from kdl.applications.nasnet_sizes import NASNetLarge, NASNetMobile
from kdl.applications.pyramid import pyramid
from kdl.applications.registry import create_model, list_models
from kdl.applications.res2net import Res2Net
from kdl.applications.res2net_sizes import Res2Net50, Res2Net101, Res2NeXt50
from kdl.applications.resnet import ResNet
from kdl.applications.resnet_sizes import ResNet50, ResNet101
from kdl.applications.resnext import ResNeXt
from kdl.applications.resnext_sizes import ResNeXt50, ResNeXt101
from kdl.applications.scnet import SCNet
from kdl.applications.scnet_sizes import SCNet50, SCNet101
from kdl.applications.se_inception import SEInception
from kdl.applications.senet import SEResNet
from kdl.applications.senet_sizes import (
    SENet154,
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
    "Application",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3",
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
