"""Layers, one public class a file."""

from kdl.layers.channel_shuffle import ChannelShuffle
from kdl.layers.depthwise_conv2d import DepthwiseConv2D
from kdl.layers.shuffle_unit_v2 import ShuffleUnitV2
