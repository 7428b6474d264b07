"""Model compression: quantization, pruning, knowledge distillation."""

from kdl import _lazy
from kdl.compression import tfmot
from kdl.compression.distillation.distill import distill
from kdl.compression.distillation.distillation import Distillation
from kdl.compression.pruning.constant_sparsity import ConstantSparsity
from kdl.compression.pruning.measure_sparsity import measure_sparsity
from kdl.compression.pruning.polynomial_sparsity import PolynomialSparsity
from kdl.compression.pruning.prune import prune
from kdl.compression.pruning.pruned_model import PrunedModel
from kdl.compression.pruning.sparsity_report import LayerSparsity, SparsityReport
from kdl.compression.pruning.sparsity_schedule import SparsitySchedule
from kdl.compression.quantization.calibrate import calibrate
from kdl.compression.quantization.quantization_report import KeptFloat, QuantizationReport
from kdl.compression.quantization.quantize_aware import quantize_aware
from kdl.compression.quantization.round_biases import round_biases
from kdl.compression.strip import strip
from kdl.graph.flatten import flatten
from kdl.graph.fold_batch_norm import fold_batch_norm

__all__ = [
    "ConstantSparsity",
    "Distillation",
    "KeptFloat",
    "LayerSparsity",
    "PolynomialSparsity",
    "PrunedModel",
    "QuantizationReport",
    "SparsityReport",
    "SparsitySchedule",
    "calibrate",
    "distill",
    "flatten",
    "fold_batch_norm",
    "measure_sparsity",
    "prune",
    "quantize_aware",
    "round_biases",
    "strip",
    "tfmot",
]

__dir__ = _lazy.names_in_all(globals())
