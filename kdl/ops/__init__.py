"""Stateless tensor maths shared by all rooms above."""

import keras  # first: what Keras registers imports the rooms, in their own order

from kdl.ops.adaptive_pooling import adaptive_average_pool
from kdl.ops.boxes import (
    box_area,
    box_intersection,
    box_iog,
    box_iou,
    decode_boxes,
    encode_boxes,
)
from kdl.ops.channels import channel_shuffle, channel_split
from kdl.ops.convolution import conv
from kdl.ops.depthwise import depthwise_conv
from kdl.ops.distances import pairwise_distances
from kdl.ops.grouped import grouped_conv, mobile_gpu_safe
from kdl.ops.lowering import lowering_scope
from kdl.ops.normalization import fused_batch_norm
from kdl.ops.pooling import average_pool, max_pool
from kdl.ops.quantization import fake_quantize, fake_quantize_weights, weight_steps
from kdl.ops.replicas import has_replicas, replica_moments, replica_number, replica_sum
from kdl.ops.resizing import resize_align_corners
