"""Contents of a `.tflite` file: inputs, outputs, operations, quantization."""

import contextlib
import contextvars
import dataclasses
import functools
import os
from collections import Counter

import numpy as np

from kdl._typing import Path
from kdl._words import unique_names
from kdl.deploy.tflite.validation import CountedBytes, check_tables, validate

# Within `parsed_once`: a list of the last content and what was parsed of it.
_last_parsed = contextvars.ContextVar("kdl_last_parsed", default=None)

_FLOAT_TYPES = ("FLOAT32", "FLOAT16", "FLOAT64", "BFLOAT16")
# Types of results and of weights → the kind of file.
_COMPUTED_KINDS = {"int8": ("INT8", "UINT8"), "int16": ("INT16",)}
_WEIGHT_KINDS = {"dynamic": ("INT8", "UINT8", "INT4", "INT2"), "float16": ("FLOAT16",)}


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
        inputs: Dict: name in the first signature, or of the tensor where there is none →
            `(shape, type)`.
        outputs: The same for the results.
        signatures: Names of the signatures; empty if the file has none.
        computed_types: Counter of the element types in which operations compute, such as `INT8`:
            those of the results of all but QUANTIZE and DEQUANTIZE, where only integers with a
            scale and floating-point numbers count.
        weight_types: Counter of the element types of constants with a scale, and of
            floating-point constants.
        open_sizes: Whether an input leaves a size open beside the batch.
    """

    path: str
    size: int
    operations: Counter
    tensor_types: Counter
    constant_types: Counter
    largest_rank: int
    inputs: dict
    outputs: dict
    signatures: tuple = ()
    computed_types: Counter = dataclasses.field(default_factory=Counter)
    weight_types: Counter = dataclasses.field(default_factory=Counter)
    open_sizes: bool = False

    @property
    def float_tensors(self) -> int:
        """Number of tensors that hold floating-point numbers."""
        return sum(self.tensor_types[t] for t in _FLOAT_TYPES)

    @property
    def quantization(self) -> str:
        """The kind of file: `"int8"`, `"int16"`, `"dynamic"`, `"float16"` or `"float32"`.

        It is that of the operations, whatever goes in and out: `int8` if they compute in integers
        of eight bits, `int16` if in those of sixteen, both even if a part stays floating-point;
        else that of the weights: `dynamic` if some are integers, `float16` if some are halves.
        """
        for kind, types in _COMPUTED_KINDS.items():
            if any(self.computed_types[name] for name in types):
                return kind
        for kind, types in _WEIGHT_KINDS.items():
            if any(self.weight_types[name] for name in types):
                return kind
        return "float32"


def read_tflite(path: Path) -> TFLiteFile:
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
    return read_as(path, functools.partial(_summary, os.fspath(path)))


def parse_tflite(path):
    """The content of a `.tflite` file as LiteRT's `ModelT` object, checked by `validate`.

    Every index in it is one of something that exists, and lists that the file leaves out are empty.
    Change nothing in it within `parsed_once`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a TFLite model, or is damaged.
        ImportError: If `ai-edge-litert` is missing.
    """
    return read_as(path, lambda model, schema: model)


def read_as(path, build):
    """Result of `build(model, schema)` for a `.tflite` file; errors as of `parse_tflite`."""
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such .tflite file.")
    with open(path, "rb") as file:
        buffer = file.read()
    if buffer[4:8] != b"TFL3":
        raise ValueError(f"{path} is not a TFLite model: it lacks the mark TFL3.")
    schema = tflite_schema()
    with damage_named(path):
        return build(_parse_again(buffer, schema), schema)


@contextlib.contextmanager
def parsed_once():
    """Within it files are read as often as they are asked for, and each content is parsed once.

    Who reads it there must leave the parsed model as it is.
    """
    token = None if _last_parsed.get() is not None else _last_parsed.set([])
    try:
        yield
    finally:
        if token is not None:
            _last_parsed.reset(token)


@contextlib.contextmanager
def damage_named(path):
    """Turns whatever a damaged file makes its readers raise into a ValueError that names it."""
    try:
        yield
    except (FileNotFoundError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and os.fspath(path) in str(error):
            raise
        raise ValueError(
            f"{os.fspath(path)} is damaged or truncated ({type(error).__name__}: {error}). Export "
            f"it again."
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
    """Option that makes LiteRT's interpreter leave XNNPACK out."""
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


def _parse_again(buffer, schema):
    """The parsed content; that of before, if it is the same to the byte."""
    last = _last_parsed.get()
    if last is None:
        return _parse(buffer, schema)
    if not last or last[0] != buffer:
        last[:] = buffer, _parse(buffer, schema)
    return last[1]


def _parse(buffer, schema):
    root = schema.Model.GetRootAs(CountedBytes(buffer), 0)
    check_tables(root, len(buffer))
    model = schema.ModelT.InitFromObj(root)
    names = enum_names(schema.BuiltinOperator), enum_names(schema.TensorType)
    validate(model, len(buffer), *names)
    return model


def _summary(path, model, schema):
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
        size=os.path.getsize(path),
        operations=Counter(codes[operator.opcodeIndex] for operator in operators),
        tensor_types=Counter(type_names[t.type] for t in tensors),
        constant_types=Counter(type_names[t.type] for t in constants),
        largest_rank=max((len(t.shape) for t in tensors), default=0),
        inputs=entries(inputs),
        outputs=entries(outputs),
        signatures=tuple(signature_names(model)),
        computed_types=Counter(type_names[t.type] for t in _computed(model, codes)),
        weight_types=Counter(type_names[t.type] for t in constants if _is_number(t, type_names)),
        open_sizes=any(_has_open_size(tensor) for tensor in inputs.values()),
    )


def _computed(model, codes):
    """Tensors with a scale, or of floats, that operations give, but for QUANTIZE, DEQUANTIZE."""
    type_names = enum_names(tflite_schema().TensorType)
    for graph in model.subgraphs:
        for operator in graph.operators:
            if codes[operator.opcodeIndex] in ("QUANTIZE", "DEQUANTIZE"):
                continue
            numbers = [] if operator.outputs is None else operator.outputs
            results = (graph.tensors[index] for index in numbers if index >= 0)
            yield from (tensor for tensor in results if _is_number(tensor, type_names))


def _is_number(tensor, type_names):
    """Tell if a tensor holds floating-point numbers, or integers with a scale."""
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return type_names[tensor.type] in _FLOAT_TYPES or (scale is not None and len(scale) > 0)


def _has_open_size(tensor):
    signature = tensor.shapeSignature
    return signature is not None and any(int(size) < 0 for size in signature[1:])


def signature_names(model):
    """Names of the signatures of what `parse_tflite` gives; empty if there are none."""
    return [signature.signatureKey.decode() for signature in model.signatureDefs or []]


def signature_tensors(model, name=None):
    """`(inputs, outputs)` of a signature, each a dict: name → tensor.

    A file without signatures gives the tensors of its graph under their own names, where those
    that occur more than once are numbered.

    Args:
        model: What `parse_tflite` gives.
        name: Name of the signature; by default the first.

    Raises:
        ValueError: If there is no such signature, or it gives one name to two tensors.
    """
    names = signature_names(model)
    if name is not None and name not in names:
        raise ValueError(f"there is no signature {name!r}; those of the file are {names}")
    if not names:
        return _graph_tensors(model)
    signature = model.signatureDefs[0 if name is None else names.index(name)]
    tensors = model.subgraphs[signature.subgraphIndex].tensors
    return tuple(
        _named((entry.name.decode(), tensors[entry.tensorIndex]) for entry in entries or [])
        for entries in (signature.inputs, signature.outputs)
    )


def _named(pairs):
    pairs = list(pairs)
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError("a signature gives one name to two tensors")
    return named


def _graph_tensors(model):
    graph = model.subgraphs[0]
    found = []
    for numbers in (graph.inputs, graph.outputs):
        tensors = [graph.tensors[number] for number in ([] if numbers is None else numbers)]
        names = unique_names((tensor.name or b"").decode(errors="replace") for tensor in tensors)
        found.append(dict(zip(names, tensors, strict=True)))
    return tuple(found)


def type_name(tensor):
    """Element type of a tensor, such as `INT8`."""
    return enum_names(tflite_schema().TensorType)[tensor.type]


def operation_name(code, names):
    """Name of an operator code; `custom:Name`, or `unknown:Number` beyond the schema."""
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = names.get(number, f"unknown:{number}")
    custom = (code.customCode or b"?").decode(errors="replace")
    return f"custom:{custom}" if name == "CUSTOM" else name


def enum_names(enumeration):
    """Dict: number → name of an enumeration of the schema."""
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def scales_of(tensor):
    """The scales of a tensor of integers, or None if they are what they stand for."""
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    return None if scales is None or not np.any(scales) else np.asarray(scales)
