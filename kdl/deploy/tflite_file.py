"""What stands in a `.tflite` file."""

import dataclasses
import os
from collections import Counter

_FLOAT_TYPES = ("FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16")


@dataclasses.dataclass(frozen=True)
class TFLiteFile:
    """Summary of a `.tflite` file: its operations, the types of its tensors, its signature.

    Attributes:
        path: The file.
        size: Bytes.
        operations: Counter of operation names, such as `CONV_2D`; custom ones as `custom:Name`.
        tensor_types: Counter of element types, such as `INT8`, over all tensors.
        constant_types: The same over constant tensors alone.
        largest_rank: Largest number of axes of any tensor.
        inputs: Dict: signature name → `(shape, type)`.
        outputs: The same for the results.
    """

    path: str
    size: int
    operations: Counter
    tensor_types: Counter
    constant_types: Counter
    largest_rank: int
    inputs: dict
    outputs: dict

    @property
    def float_tensors(self):
        """How many tensors hold floating-point numbers."""
        return sum(self.tensor_types[t] for t in _FLOAT_TYPES)

    @property
    def quantization(self):
        """The kind of file: `"int8"`, `"dynamic"`, `"float16"` or `"float32"`."""
        if not self.float_tensors:
            return "int8"
        if self.constant_types["INT8"]:
            return "dynamic"
        return "float16" if self.constant_types["FLOAT16"] else "float32"


def read_tflite(path):
    """Reads the summary of a `.tflite` file.

    Args:
        path: The file.

    Returns:
        `TFLiteFile`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a TFLite model, or is truncated.
        ImportError: If `ai-edge-litert` is missing.
    """
    return read_as(path, _summary)


def parse_tflite(path):
    """The content of a `.tflite` file as LiteRT's `ModelT` object.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a TFLite model, or is truncated.
        ImportError: If `ai-edge-litert` is missing.
    """
    return read_as(path, _parse)


def read_as(path, build):
    """What `build(path, content, schema)` makes of a `.tflite` file; errors as of `read_tflite`."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such .tflite file.")
    with open(path, "rb") as file:
        buffer = file.read()
    if buffer[4:8] != b"TFL3":
        raise ValueError(f"{path} is not a TFLite model: it lacks the mark TFL3.")
    schema = tflite_schema()
    try:
        return build(path, buffer, schema)
    except Exception as error:
        raise ValueError(
            f"{path} is damaged or truncated ({type(error).__name__}: {error}). Export it again."
        ) from error


def interpreter_class():
    """LiteRT's interpreter.

    Raises:
        ImportError: If `ai-edge-litert` is missing.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError("Running .tflite files needs: pip install ai-edge-litert") from error
    return Interpreter


def plain_kernels():
    """What tells LiteRT's interpreter to leave XNNPACK out."""
    from ai_edge_litert.interpreter import OpResolverType

    return OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def tflite_schema():
    """LiteRT's classes for the content of `.tflite` files.

    Raises:
        ImportError: If `ai-edge-litert` is missing.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise ImportError("Reading .tflite files needs: pip install ai-edge-litert") from error
    return schema


def _parse(path, buffer, schema):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(buffer, 0))


def _summary(path, buffer, schema):
    model = _parse(path, buffer, schema)
    op_names = enum_names(schema.BuiltinOperator)
    type_names = enum_names(schema.TensorType)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    codes = [operation_name(code, op_names) for code in model.operatorCodes]
    constants = [t for t in tensors if model.buffers[t.buffer].data is not None]
    inputs, outputs = signature_tensors(model)

    def entries(named):
        return {
            name: (tuple(int(n) for n in tensor.shape), type_names[tensor.type])
            for name, tensor in named.items()
        }

    return TFLiteFile(
        path=path,
        size=len(buffer),
        operations=Counter(codes[operator.opcodeIndex] for operator in operators),
        tensor_types=Counter(type_names[t.type] for t in tensors),
        constant_types=Counter(type_names[t.type] for t in constants),
        largest_rank=max(0 if t.shape is None else len(t.shape) for t in tensors),
        inputs=entries(inputs),
        outputs=entries(outputs),
    )


def signature_tensors(model):
    """`(inputs, outputs)`, each a dict: name in the first signature → tensor; empty without one.

    Args:
        model: What `parse_tflite` gives.
    """
    if not model.signatureDefs:
        return {}, {}
    signature = model.signatureDefs[0]
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    return tuple(
        {entry.name.decode(): tensors[entry.tensorIndex] for entry in entries}
        for entries in (signature.inputs, signature.outputs)
    )


def type_name(tensor):
    """Element type of a tensor, such as `INT8`."""
    return enum_names(tflite_schema().TensorType)[tensor.type]


def operation_name(code, names):
    """Name of an operator code; `custom:Name`, or `unknown:Number` beyond the schema."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = names.get(number, f"unknown:{number}")
    return f"custom:{(code.customCode or b'?').decode()}" if name == "CUSTOM" else name


def enum_names(enumeration):
    """Dict: number → name of an enumeration of the schema."""
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}
