"""Layers, one public class a file."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.layers.blocks.dilated_context import DilatedContext
from kdl.layers.blocks.factorized_reduction import FactorizedReduction
from kdl.layers.blocks.fire_module import FireModule
from kdl.layers.blocks.inception_block import InceptionBlock
from kdl.layers.blocks.inverted_residual import InvertedResidual
from kdl.layers.blocks.nasnet_cell import NASNetCell
from kdl.layers.blocks.res2net_block import Res2NetBlock
from kdl.layers.blocks.resnext_block import ResNeXtBlock
from kdl.layers.blocks.self_calibrated_block import SelfCalibratedBlock
from kdl.layers.blocks.separable_block import SeparableBlock
from kdl.layers.blocks.shuffle_unit import ShuffleUnit
from kdl.layers.blocks.shuffle_unit_v2 import ShuffleUnitV2
from kdl.layers.blocks.squeeze_excite import SqueezeExcite
from kdl.layers.convolution.centralized_conv2d import CentralizedConv2D
from kdl.layers.convolution.channel_shuffle import ChannelShuffle
from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.convolution.depthwise_conv2d import DepthwiseConv2D
from kdl.layers.convolution.grouped_conv2d import GroupedConv2D
from kdl.layers.convolution.self_calibrated_conv2d import SelfCalibratedConv2D
from kdl.layers.normalization.batch_normalization import BatchNormalization
from kdl.layers.normalization.convert_sync_batch_norm import convert_sync_batch_norm
from kdl.layers.normalization.l2_normalization import L2Normalization
from kdl.layers.normalization.moving_average_batch_normalization import (
    MovingAverageBatchNormalization,
)
from kdl.layers.normalization.switchable_normalization import SwitchableNormalization
from kdl.layers.normalization.sync_batch_normalization import SyncBatchNormalization
from kdl.layers.pooling.average_pooling2d import AveragePooling2D
from kdl.layers.pooling.max_pooling2d import MaxPooling2D
from kdl.layers.pooling.mixed_pooling import MixedPooling
from kdl.layers.pooling.strip_pooling import StripPooling
from kdl.layers.quantization.fake_quantize import FakeQuantize
from kdl.layers.quantization.quantized_conv2d import QuantizedConv2D
from kdl.layers.quantization.quantized_conv2d_transpose import QuantizedConv2DTranspose
from kdl.layers.quantization.quantized_dense import QuantizedDense
from kdl.layers.quantization.quantized_depthwise_conv2d import QuantizedDepthwiseConv2D
from kdl.layers.recurrent import CoupledLSTM, CoupledLSTMCell, PeepholeLSTM, PeepholeLSTMCell
from kdl.layers.regularization.scheduled_drop_path import ScheduledDropPath

__all__ = [
    "AveragePooling2D",
    "BatchNormalization",
    "CentralizedConv2D",
    "ChannelShuffle",
    "Conv2D",
    "CoupledLSTM",
    "CoupledLSTMCell",
    "DepthwiseConv2D",
    "DilatedContext",
    "FactorizedReduction",
    "FakeQuantize",
    "FireModule",
    "GroupedConv2D",
    "InceptionBlock",
    "InvertedResidual",
    "L2Normalization",
    "MaxPooling2D",
    "MixedPooling",
    "MovingAverageBatchNormalization",
    "NASNetCell",
    "PeepholeLSTM",
    "PeepholeLSTMCell",
    "QuantizedConv2D",
    "QuantizedConv2DTranspose",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "Res2NetBlock",
    "ResNeXtBlock",
    "ScheduledDropPath",
    "SelfCalibratedBlock",
    "SelfCalibratedConv2D",
    "SeparableBlock",
    "ShuffleUnit",
    "ShuffleUnitV2",
    "SqueezeExcite",
    "StripPooling",
    "SwitchableNormalization",
    "SyncBatchNormalization",
    "convert_sync_batch_norm",
    "recurrent",
]

__dir__ = _lazy.names_in_all(globals())
