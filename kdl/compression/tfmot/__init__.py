"""TensorFlow Model Optimization for Keras 3 models of any backend, in a process of its own."""

from kdl import _lazy
from kdl.compression.tfmot._process import warm_process
from kdl.compression.tfmot.cluster import cluster
from kdl.compression.tfmot.prune import prune
from kdl.compression.tfmot.quantize import quantize
from kdl.compression.tfmot.strip import strip
from kdl.compression.tfmot.tfmot_model import TFMOTModel

__all__ = [
    "TFMOTModel",
    "cluster",
    "prune",
    "quantize",
    "strip",
    "warm_process",
]

__dir__ = _lazy.names_in_all(globals())
