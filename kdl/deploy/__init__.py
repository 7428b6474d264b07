"""From a trained model to a file on a device, and the proof that it answers alike."""

from kdl.deploy.check import check
from kdl.deploy.conversion import ExportError
from kdl.deploy.device_report import DeviceReport, OperationVerdict
from kdl.deploy.device_run import DeviceRun
from kdl.deploy.export import export_tflite
from kdl.deploy.latency import Latency, measure_latency
from kdl.deploy.runner import TFLiteRunner
from kdl.deploy.tflite_file import TFLiteFile, read_tflite
from kdl.deploy.verify import Gates, Verification, verify_tflite
from kdl.deploy.warm_converter import warm_converter
