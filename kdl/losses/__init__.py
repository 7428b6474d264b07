"""Losses: a function and a class each, one public class a file.

Give `compile` the object or the function, not a name: Keras looks names up among its own alone.
"""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.losses.ciou_loss import CIoULoss, ciou_loss
from kdl.losses.diou_loss import DIoULoss, diou_loss
from kdl.losses.focal_loss import FocalLoss, focal_loss
from kdl.losses.giou_loss import GIoULoss, giou_loss
from kdl.losses.hard_negative_mining import HardNegativeMining, hard_negative_mining
from kdl.losses.jaccard_loss import JaccardLoss, jaccard_loss
from kdl.losses.label_smoothing_crossentropy import (
    LabelSmoothingCrossentropy,
    label_smoothing_crossentropy,
)
from kdl.losses.lovasz_hinge import LovaszHinge, lovasz_hinge
from kdl.losses.lovasz_softmax import LovaszSoftmax, lovasz_softmax
from kdl.losses.mixup_crossentropy import MixupCrossentropy, mixup_crossentropy
from kdl.losses.repulsion_loss import RepulsionLoss, repulsion_loss, repulsion_terms
from kdl.losses.smooth_l1 import SmoothL1, smooth_l1
from kdl.losses.triplet_loss import TripletLoss, triplet_loss

__all__ = [
    "CIoULoss",
    "DIoULoss",
    "FocalLoss",
    "GIoULoss",
    "HardNegativeMining",
    "JaccardLoss",
    "LabelSmoothingCrossentropy",
    "LovaszHinge",
    "LovaszSoftmax",
    "MixupCrossentropy",
    "RepulsionLoss",
    "SmoothL1",
    "TripletLoss",
    "ciou_loss",
    "diou_loss",
    "focal_loss",
    "giou_loss",
    "hard_negative_mining",
    "jaccard_loss",
    "label_smoothing_crossentropy",
    "lovasz_hinge",
    "lovasz_softmax",
    "mixup_crossentropy",
    "repulsion_loss",
    "repulsion_terms",
    "smooth_l1",
    "triplet_loss",
]

__dir__ = _lazy.names_in_all(globals())
