"""Making trained models smaller and faster."""

from kdl.compression.calibrate import calibrate
from kdl.compression.flatten import flatten
from kdl.compression.fold_batch_norm import fold_batch_norm
from kdl.compression.quantization_report import KeptFloat, QuantizationReport
from kdl.compression.quantize_aware import quantize_aware
