"""Export to TensorFlow Lite with a proof of equal outputs, runtimes, device reports, benchmarks."""

from kdl import _lazy
from kdl.deploy.devices.check import check
from kdl.deploy.devices.device_plot import plot_device_reports
from kdl.deploy.devices.device_report import DeviceReport, OperationVerdict
from kdl.deploy.devices.device_run import DeviceRun
from kdl.deploy.exporting.warm_converter import warm_converter
from kdl.deploy.profiling.benchmark import Benchmark, OperationTime, benchmark
from kdl.deploy.profiling.benchmark_plot import plot_benchmarks
from kdl.deploy.profiling.latency import Latency, measure_latency
from kdl.deploy.runtime.class_share import ClassShare
from kdl.deploy.runtime.classification import Classification
from kdl.deploy.runtime.image_classifier import ImageClassifier
from kdl.deploy.runtime.image_segmenter import ImageSegmenter
from kdl.deploy.runtime.runner import TFLiteRunner
from kdl.deploy.runtime.segmentation import Segmentation
from kdl.deploy.tflite.file import TFLiteFile, read_tflite
from kdl.deploy.tflite.metadata import write_metadata
from kdl.deploy.tflite.sidecar import write_sidecar

__all__ = [
    "Benchmark",
    "ClassShare",
    "Classification",
    "DeviceReport",
    "DeviceRun",
    "ExportError",
    "ImageClassifier",
    "ImageSegmenter",
    "Latency",
    "OperationTime",
    "OperationVerdict",
    "OutputComparison",
    "Rewrite",
    "Segmentation",
    "TFLiteFile",
    "TFLiteRunner",
    "Tolerances",
    "Verification",
    "benchmark",
    "check",
    "export_tflite",
    "measure_latency",
    "plot_benchmarks",
    "plot_device_reports",
    "read_tflite",
    "rewrite_for",
    "verify_tflite",
    "warm_converter",
    "write_metadata",
    "write_sidecar",
]

# What runs a file needs no Keras; what makes one does.
_NEED_KERAS = {
    "ExportError": "exporting.conversion",
    "Tolerances": "exporting.tolerances",
    "OutputComparison": "exporting.output_comparison",
    "Rewrite": "rewriting.rewrite",
    "Verification": "exporting.verification",
    "export_tflite": "exporting.export",
    "rewrite_for": "rewriting.rewrite",
    "verify_tflite": "exporting.verify",
}

_RENAMED = {
    "Answer": "Classification",
    "Gates": "Tolerances",
    "Runner": "ImageClassifier",
}

__getattr__, __dir__ = _lazy.lazy_names(globals(), _NEED_KERAS, _RENAMED)
