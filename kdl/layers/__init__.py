"""Layers, one public class a file."""

import keras  # first: what Keras registers imports the rooms, in their own order

from kdl.layers.average_pooling2d import AveragePooling2D
from kdl.layers.batch_normalization import BatchNormalization
from kdl.layers.centralized_conv2d import CentralizedConv2D
from kdl.layers.channel_shuffle import ChannelShuffle
from kdl.layers.conv2d import Conv2D
from kdl.layers.convert_sync_batch_norm import convert_sync_batch_norm
from kdl.layers.depthwise_conv2d import DepthwiseConv2D
from kdl.layers.dilated_context import DilatedContext
from kdl.layers.factorized_reduction import FactorizedReduction
from kdl.layers.fake_quantize import FakeQuantize
from kdl.layers.fire_module import FireModule
from kdl.layers.grouped_conv2d import GroupedConv2D
from kdl.layers.inception_block import InceptionBlock
from kdl.layers.inverted_residual import InvertedResidual
from kdl.layers.max_pooling2d import MaxPooling2D
from kdl.layers.mixed_pooling import MixedPooling
from kdl.layers.moving_average_batch_normalization import MovingAverageBatchNormalization
from kdl.layers.nasnet_cell import NASNetCell
from kdl.layers.quantized_conv2d import QuantizedConv2D
from kdl.layers.quantized_conv2d_transpose import QuantizedConv2DTranspose
from kdl.layers.quantized_dense import QuantizedDense
from kdl.layers.quantized_depthwise_conv2d import QuantizedDepthwiseConv2D
from kdl.layers.recurrent import CoupledLSTM, CoupledLSTMCell, PeepholeLSTM, PeepholeLSTMCell
from kdl.layers.res2net_block import Res2NetBlock
from kdl.layers.resnext_block import ResNeXtBlock
from kdl.layers.scheduled_drop_path import ScheduledDropPath
from kdl.layers.self_calibrated_block import SelfCalibratedBlock
from kdl.layers.self_calibrated_conv2d import SelfCalibratedConv2D
from kdl.layers.separable_block import SeparableBlock
from kdl.layers.shuffle_unit import ShuffleUnit
from kdl.layers.shuffle_unit_v2 import ShuffleUnitV2
from kdl.layers.squeeze_excite import SqueezeExcite
from kdl.layers.strip_pooling import StripPooling
from kdl.layers.switchable_normalization import SwitchableNormalization
from kdl.layers.sync_batch_normalization import SyncBatchNormalization
