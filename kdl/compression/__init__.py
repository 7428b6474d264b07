"""Making trained models smaller and faster."""

from kdl.compression import tfmot
from kdl.compression.calibrate import calibrate
from kdl.compression.constant_sparsity import ConstantSparsity
from kdl.compression.distill import distill
from kdl.compression.distillation import Distillation
from kdl.compression.flatten import flatten
from kdl.compression.fold_batch_norm import fold_batch_norm
from kdl.compression.measure_sparsity import measure_sparsity
from kdl.compression.polynomial_sparsity import PolynomialSparsity
from kdl.compression.prune import prune
from kdl.compression.pruned_model import PrunedModel
from kdl.compression.quantization_report import KeptFloat, QuantizationReport
from kdl.compression.quantize_aware import quantize_aware
from kdl.compression.round_biases import round_biases
from kdl.compression.sparsity_report import LayerSparsity, SparsityReport
from kdl.compression.sparsity_schedule import SparsitySchedule
from kdl.compression.strip import strip
