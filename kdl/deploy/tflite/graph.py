"""The operations of a `.tflite` file, one by one, with their tensors and options."""

import collections
import dataclasses
import functools
import math
import os

import numpy as np

from kdl.deploy.tflite.file import enum_names, operation_name, read_as

_NUMPY_TYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclasses.dataclass(frozen=True)
class FileTensor:
    """A tensor of a `.tflite` file.

    Attributes:
        index: Its number in its graph.
        name: Its name.
        shape: Its shape; dynamic dimensions are 1.
        dynamic_axes: Numbers of the axes whose size is not fixed.
        type: Name of its element type, such as `INT8`.
        constant: Whether its values stand in the file.
        scales: How many scales it is quantized with; 0 for none.
        scale: The first of them; 0 for none.
        zero_point: The number that stands for zero; 0 without scales.
        consumers: How many operations of its graph take it.
        content: The bytes of a constant.
    """

    index: int
    name: str
    shape: tuple
    dynamic_axes: tuple
    type: str
    constant: bool
    scales: int
    scale: float
    zero_point: int
    consumers: int
    content: object = dataclasses.field(repr=False, compare=False)

    @property
    def dynamic(self):
        """Tell if a size is not fixed."""
        return bool(self.dynamic_axes)

    @property
    def rank(self):
        """Number of axes."""
        return len(self.shape)

    @property
    def elements(self):
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def label(self):
        """The name, without those of the operations that were folded into the one that made it."""
        return self.name.partition(";")[0]

    @property
    def values(self):
        """Values of a constant as an array; None if there are none that NumPy knows."""
        if self.content is None or self.type not in _NUMPY_TYPES:
            return None
        flat = np.frombuffer(self.content, _NUMPY_TYPES[self.type])
        return flat.reshape(self.shape) if flat.size == self.elements else flat

    def __str__(self):
        return f"{self.type.lower()}[{'×'.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class FileOperation:
    """An operation of a `.tflite` file.

    Attributes:
        index: Its number in the order of execution.
        graph: Number of its graph; bodies of loops and branches are graphs of their own.
        name: Its kind, such as `CONV_2D`; `custom:Name` for custom ones.
        version: The version of it that the file asks for.
        inputs: Its `FileTensor`s; None for an optional one that is left out.
        outputs: The same for its results.
        producers: For each input the `FileOperation` that makes it, or None.
        activation: Name of the activation that it ends with; `"NONE"` for none.
        options: The schema's object of its options, or None.
    """

    index: int
    graph: int
    name: str
    version: int
    inputs: tuple
    outputs: tuple
    producers: tuple = dataclasses.field(repr=False, compare=False)
    activation: str
    options: object = dataclasses.field(repr=False, compare=False)

    @property
    def tensors(self):
        """Inputs and outputs that exist."""
        return [x for x in (*self.inputs, *self.outputs) if x is not None]

    @property
    def variables(self):
        """The inputs that are not constant."""
        return [x for x in self.inputs if x is not None and not x.constant]

    def input(self, position):
        """The input at a position; None if there is none."""
        return self.inputs[position] if position < len(self.inputs) else None

    def option(self, name, default=None):
        """An option by its name in the schema."""
        return getattr(self.options, name, default)


@dataclasses.dataclass(frozen=True)
class TFLiteGraph:
    """The operations of a `.tflite` file in the order of execution.

    Attributes:
        path: The file.
        operations: List of `FileOperation`; those of the main graph come first.
        inputs: The `FileTensor`s that the main graph takes.
        outputs: Those that it gives.
    """

    path: str
    operations: list
    inputs: list
    outputs: list


def read_operations(path):
    """Reads the operations of a `.tflite` file.

    Args:
        path: The file.

    Returns:
        `TFLiteGraph`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a TFLite model, or is truncated.
        ImportError: If `ai-edge-litert` is missing.
    """
    return read_as(path, functools.partial(_graph, os.fspath(path)))


def _graph(path, model, schema):
    names = enum_names(schema.BuiltinOperator)
    kinds = [operation_name(code, names) for code in model.operatorCodes]
    activations = enum_names(schema.ActivationFunctionType)
    types = enum_names(schema.TensorType)
    tensors = [_tensors(graph, model.buffers, types) for graph in model.subgraphs]
    operations = []
    for number, graph in enumerate(model.subgraphs):
        producers = {}
        for raw in graph.operators:
            options = raw.builtinOptions if raw.builtinOptions is not None else raw.builtinOptions2
            code = getattr(options, "fusedActivationFunction", 0)
            inputs = _pick(tensors[number], raw.inputs)
            operation = FileOperation(
                index=len(operations),
                graph=number,
                name=kinds[raw.opcodeIndex],
                version=model.operatorCodes[raw.opcodeIndex].version,
                inputs=inputs,
                outputs=_pick(tensors[number], raw.outputs),
                producers=tuple(x and producers.get(x.index) for x in inputs),
                activation=activations.get(code, str(code)),
                options=options,
            )
            operations.append(operation)
            producers.update({x.index: operation for x in operation.outputs if x})
    main = model.subgraphs[0]
    return TFLiteGraph(
        path=path,
        operations=operations,
        inputs=list(_pick(tensors[0], main.inputs)),
        outputs=list(_pick(tensors[0], main.outputs)),
    )


def _tensors(graph, buffers, types):
    consumers = collections.Counter()
    for operator in graph.operators:
        consumers.update(set(map(int, operator.inputs)))
    return [
        _tensor(index, raw, buffers, types, consumers[index])
        for index, raw in enumerate(graph.tensors)
    ]


def _tensor(index, raw, buffers, types, consumers):
    buffer = buffers[raw.buffer]
    # Models above two gigabytes keep their constants behind the flatbuffer, at an offset.
    outside = getattr(buffer, "offset", 0) > 1
    scales, zero_points = _scales(raw.quantization)
    signature = raw.shapeSignature if raw.shapeSignature is not None else []
    return FileTensor(
        index=index,
        name=(raw.name or b"").decode(errors="replace"),
        shape=tuple(map(int, raw.shape)),
        dynamic_axes=tuple(axis for axis, n in enumerate(signature) if int(n) < 0),
        type=types[raw.type],
        constant=buffer.data is not None or outside,
        scales=len(scales),
        scale=float(scales[0]) if len(scales) else 0.0,
        zero_point=int(zero_points[0]) if len(zero_points) else 0,
        consumers=consumers,
        content=buffer.data,
    )


def _scales(quantization):
    """The scales and zero points of a tensor; both empty if it is not quantized."""
    if quantization is None or quantization.scale is None:
        return (), ()
    zero_points = quantization.zeroPoint
    return quantization.scale, () if zero_points is None else zero_points


def _pick(tensors, numbers):
    return tuple(None if n < 0 else tensors[n] for n in numbers)
