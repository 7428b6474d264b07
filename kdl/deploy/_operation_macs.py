"""Multiply-adds of the operations of a `.tflite` file."""

import math


def operation_macs(operation):
    """Multiply-adds of one run of a `FileOperation`; 0 for what multiplies no matrices."""
    count = _COUNTS.get(operation.name)
    return count(operation) if count else 0


def _convolution(operation):
    """Kernel `(filters, …, width)`: each output value is a product of all but the filters."""
    return operation.outputs[0].elements * math.prod(operation.inputs[1].shape[1:])


def _depthwise(operation):
    """Kernel `(1, height, width, channels)`."""
    return operation.outputs[0].elements * math.prod(operation.inputs[1].shape[1:3])


def _convolution_3d(operation):
    """Kernel `(depth, height, width, channels, filters)`."""
    return operation.outputs[0].elements * math.prod(operation.inputs[1].shape[:4])


def _transposed(operation):
    """Kernel `(filters, height, width, channels)`; each input pixel spreads over a window."""
    return operation.inputs[2].elements * math.prod(operation.inputs[1].shape[:3])


def _fully_connected(operation):
    return operation.outputs[0].elements * operation.inputs[1].shape[-1]


def _product(operation):
    contracted = -2 if operation.option("adjX") else -1
    return operation.outputs[0].elements * operation.inputs[0].shape[contracted]


_COUNTS = {
    "CONV_2D": _convolution,
    "CONV_3D": _convolution_3d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _product,
}
