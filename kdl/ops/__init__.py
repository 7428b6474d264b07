"""Stateless tensor maths shared by all rooms above."""

from kdl.ops.channels import channel_shuffle, channel_split
from kdl.ops.depthwise import depthwise_conv
from kdl.ops.lowering import lowering_scope
from kdl.ops.resizing import resize_align_corners
