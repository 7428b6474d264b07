"""Object detection: the parts that detectors are arranged of."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.detection.anchor_coverage import AnchorCoverage, anchor_coverage
from kdl.detection.anchor_generator import AnchorGenerator
from kdl.detection.anchor_targets import AnchorTargets, assign_targets
from kdl.detection.balanced_sampler import BalancedSampler
from kdl.detection.box_coder import BoxCoder
from kdl.detection.box_head import BoxHead
from kdl.detection.default_boxes import DefaultBoxes
from kdl.detection.dense_detections import DenseDetections
from kdl.detection.detection_masks import DetectionMasks
from kdl.detection.detection_selector import DetectionSelector
from kdl.detection.detector import Detector
from kdl.detection.faster_rcnn import FasterRCNN
from kdl.detection.fcos import FCOS
from kdl.detection.fcos_head import FCOSHead
from kdl.detection.fcos_matcher import FCOSMatcher
from kdl.detection.feature_pyramid import FeaturePyramid
from kdl.detection.linear_box_coder import LinearBoxCoder
from kdl.detection.load_torch_weights import load_torch_weights
from kdl.detection.mask_head import MaskHead
from kdl.detection.mask_rcnn import MaskRCNN
from kdl.detection.matcher import Matcher, Matches
from kdl.detection.region_detections import RegionDetections
from kdl.detection.retinanet import RetinaNet
from kdl.detection.retinanet_head import RetinaNetHead
from kdl.detection.roi_heads import ROIHeads
from kdl.detection.rpn import RPN
from kdl.detection.ssd import SSD, SSD300, SSD512, SSDLite320
from kdl.detection.ssd_extras import SSDExtras
from kdl.detection.ssd_head import SSDHead
from kdl.detection.ssd_vgg16 import SSDVGG16

__all__ = [
    "FCOS",
    "RPN",
    "SSD",
    "SSD300",
    "SSD512",
    "SSDVGG16",
    "AnchorCoverage",
    "AnchorGenerator",
    "AnchorTargets",
    "BalancedSampler",
    "BoxCoder",
    "BoxHead",
    "DefaultBoxes",
    "DenseDetections",
    "DetectionMasks",
    "DetectionSelector",
    "Detector",
    "FCOSHead",
    "FCOSMatcher",
    "FasterRCNN",
    "FeaturePyramid",
    "LinearBoxCoder",
    "MaskHead",
    "MaskRCNN",
    "Matcher",
    "Matches",
    "ROIHeads",
    "RegionDetections",
    "RetinaNet",
    "RetinaNetHead",
    "SSDExtras",
    "SSDHead",
    "SSDLite320",
    "anchor_coverage",
    "assign_targets",
    "load_torch_weights",
]

__dir__ = _lazy.names_in_all(globals())
