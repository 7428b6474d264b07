"""Stateless tensor maths shared by all packages above."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.ops.adaptive_pooling import adaptive_average_pool
from kdl.ops.box_similarity import box_ciou, box_diou, box_giou
from kdl.ops.boxes import (
    box_area,
    box_intersection,
    box_iog,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
)
from kdl.ops.channels import channel_shuffle, channel_split
from kdl.ops.convolution import conv
from kdl.ops.crop_masks import crop_masks
from kdl.ops.depthwise import depthwise_conv
from kdl.ops.distances import pairwise_distances
from kdl.ops.grouped import grouped_conv, mobile_gpu_safe
from kdl.ops.lowering import lowering_scope
from kdl.ops.masks import mask_iou, mask_to_boxes
from kdl.ops.nms import batched_nms, nms
from kdl.ops.normalization import fused_batch_norm
from kdl.ops.paste_masks import paste_masks
from kdl.ops.polygons import polygons_to_mask
from kdl.ops.pooling import average_pool, max_pool
from kdl.ops.quantization import fake_quantize, fake_quantize_weights, weight_scales
from kdl.ops.replicas import (
    batch_gather,
    batch_total,
    has_replicas,
    replica_moments,
    replica_number,
    replica_sum,
)
from kdl.ops.resizing import resize_align_corners
from kdl.ops.roi_align import pyramid_roi_align, roi_align, roi_levels
from kdl.ops.run_lengths import decode_rle, encode_rle
from kdl.ops.soft_nms import soft_nms

__all__ = [
    "adaptive_average_pool",
    "average_pool",
    "batch_gather",
    "batch_total",
    "batched_nms",
    "box_area",
    "box_ciou",
    "box_diou",
    "box_giou",
    "box_intersection",
    "box_iog",
    "box_iou",
    "channel_shuffle",
    "channel_split",
    "clip_boxes",
    "conv",
    "crop_masks",
    "decode_boxes",
    "decode_rle",
    "depthwise_conv",
    "encode_boxes",
    "encode_rle",
    "fake_quantize",
    "fake_quantize_weights",
    "fused_batch_norm",
    "grouped_conv",
    "has_replicas",
    "lowering_scope",
    "mask_iou",
    "mask_to_boxes",
    "max_pool",
    "mobile_gpu_safe",
    "nms",
    "pairwise_distances",
    "paste_masks",
    "polygons_to_mask",
    "pyramid_roi_align",
    "replica_moments",
    "replica_number",
    "replica_sum",
    "resize_align_corners",
    "roi_align",
    "roi_levels",
    "soft_nms",
    "weight_scales",
]

__getattr__, __dir__ = _lazy.lazy_names(globals(), {}, {"weight_steps": "weight_scales"})
