"""From a trained model to a file on a device, and the proof that it answers alike."""

from kdl import _lazy
from kdl.deploy.benchmark import Benchmark, OperationTime, benchmark
from kdl.deploy.benchmark_plot import plot_benchmarks
from kdl.deploy.check import check
from kdl.deploy.device_report import DeviceReport, OperationVerdict
from kdl.deploy.device_run import DeviceRun
from kdl.deploy.latency import Latency, measure_latency
from kdl.deploy.metadata import write_metadata
from kdl.deploy.picture_runner import Answer, Runner
from kdl.deploy.runner import TFLiteRunner
from kdl.deploy.sidecar import write_sidecar
from kdl.deploy.tflite_file import TFLiteFile, read_tflite
from kdl.deploy.warm_converter import warm_converter

# What runs a file needs no Keras; what makes one does.
_NEED_KERAS = {
    "ExportError": "conversion",
    "Gates": "verify",
    "Rewrite": "rewrite",
    "Verification": "verify",
    "export_tflite": "export",
    "rewrite_for": "rewrite",
    "verify_tflite": "verify",
}

__getattr__, __dir__ = _lazy.lazy_names(globals(), _NEED_KERAS)
