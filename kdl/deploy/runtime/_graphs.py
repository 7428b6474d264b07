"""The graphs of a `.tflite` file in an interpreter, run on arrays as the file holds them."""

import numpy as np

from kdl._words import unique_names
from kdl.deploy.tflite.file import signature_names


class _MainGraph:
    """The first graph of a file, which the interpreter runs by itself."""

    def __init__(self, interpreter, read_details):
        self._interpreter = interpreter
        self._read_details = read_details
        self.inputs, self.outputs = read_details()

    def resize(self, shapes):
        for name, shape in shapes.items():
            self._interpreter.resize_tensor_input(self.inputs[name]["index"], shape)
        self._interpreter.allocate_tensors()
        self.inputs, self.outputs = self._read_details()

    def run(self, inputs):
        for name, array in inputs.items():
            self._interpreter.set_tensor(self.inputs[name]["index"], array)
        self._interpreter.invoke()
        get = self._interpreter.get_tensor
        return {name: get(details["index"]) for name, details in self.outputs.items()}

    def invoke(self):
        self._interpreter.invoke()


class _OtherGraph:
    """A graph that only its signature reaches."""

    def __init__(self, signature_runner):
        self._runner = signature_runner
        self.inputs = signature_runner.get_input_details()

    def resize(self, shapes):
        self._held = {
            name: np.zeros(shapes.get(name, shape_of(details)), details["dtype"])
            for name, details in self.inputs.items()
        }
        self._runner(**self._held)
        self.inputs = self._runner.get_input_details()
        self.outputs = self._runner.get_output_details()

    def run(self, inputs):
        self._held = inputs
        return self._runner(**inputs)

    def invoke(self):
        self._runner(**self._held)


def graph_of(interpreter, model, signature):
    """The graph of a signature, or the only one of a file without signatures."""
    if signature is None:
        return _MainGraph(interpreter, lambda: _named_details(interpreter))
    place = signature_names(model).index(signature)
    if model.signatureDefs[place].subgraphIndex:
        return _OtherGraph(interpreter.get_signature_runner(signature))
    return _MainGraph(interpreter, lambda: _signature_details(interpreter, signature))


def _signature_details(interpreter, signature):
    # The runner must not be kept: it bars the interpreter from allocating.
    runner = interpreter.get_signature_runner(signature)
    return runner.get_input_details(), runner.get_output_details()


def _named_details(interpreter):
    """Details of inputs and outputs of a file without signatures, under their tensors' names."""
    found = []
    for details in (interpreter.get_input_details(), interpreter.get_output_details()):
        names = unique_names(one["name"] for one in details)
        found.append(dict(zip(names, details, strict=True)))
    return found


def shape_of(details):
    """Shape of a tensor, as a tuple."""
    return tuple(int(n) for n in details["shape"])


def dtype_of(details):
    """Dtype of what a tensor gives: float32 of integers with a scale."""
    is_scaled = np.issubdtype(details["dtype"], np.integer) and details["quantization"][0]
    return np.dtype("float32" if is_scaled else details["dtype"])


def quantize(values, details):
    """Numbers as a tensor holds them, by its scale if it has one."""
    dtype = details["dtype"]
    scale, zero_point = details["quantization"]
    if not np.issubdtype(dtype, np.integer) or not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # As `kdl.ops.fake_quantize` rounds: what lies halfway goes up.
    steps = np.floor(np.asarray(values, "float32") / np.float32(scale) + np.float32(0.5))
    # NumPy makes a number of an array without axes, which LiteRT does not take.
    return np.asarray(np.clip(steps + zero_point, limits.min, limits.max), dtype)


def dequantize(values, details):
    """Numbers that a tensor stands for, by its scale if it has one."""
    scale, zero_point = details["quantization"]
    if not np.issubdtype(details["dtype"], np.integer) or not scale:
        return np.array(values)
    return (values.astype("float32") - zero_point) * np.float32(scale)
