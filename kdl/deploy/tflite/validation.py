"""Checks a parsed `.tflite` file once, so that whoever reads it can trust its numbers."""

import math

import numpy as np

# Bytes of an element; what is packed, sparse or of variable length is not here.
_ITEM_SIZES = {
    "FLOAT64": 8,
    "FLOAT32": 4,
    "FLOAT16": 2,
    "BFLOAT16": 2,
    "INT64": 8,
    "UINT64": 8,
    "INT32": 4,
    "UINT32": 4,
    "INT16": 2,
    "UINT16": 2,
    "INT8": 1,
    "UINT8": 1,
    "BOOL": 1,
}
_INDEX_TYPES = ("INT32", "INT64", "INT16", "UINT32")

# NumPy has no arrays of more axes, and no device has room for more elements.
_LARGEST_RANK = 64
_MOST_ELEMENTS = 2**40

# A table takes eight bytes at least. The schema's own verifier allows as many tables by default.
_TABLE_SIZE = 8
_MOST_TABLES = 1_000_000

# The inputs that an operation cannot do without, by the number of their axes; None for any.
_OPERANDS = {
    "AVERAGE_POOL_2D": (4,),
    "BATCH_MATMUL": (None, None),
    "CONV_2D": (4, 4),
    "CONV_3D": (5, 5),
    "CUMSUM": (None, None),
    "DEPTHWISE_CONV_2D": (4, 4),
    "DEQUANTIZE": (None,),
    "FULLY_CONNECTED": (None, 2),
    "L2_POOL_2D": (4,),
    "MAX_POOL_2D": (4,),
    "MEAN": (None, None),
    "MIRROR_PAD": (None, 2),
    "PAD": (None, 2),
    "PADV2": (None, 2, None),
    "PRELU": (None, None),
    "QUANTIZE": (None,),
    "REDUCE_MAX": (None, None),
    "REDUCE_MIN": (None, None),
    "RESHAPE": (None,),
    "SOFTMAX": (None,),
    "SPLIT": (None, None),
    "SPLIT_V": (None, None, None),
    "SQUEEZE": (None,),
    "STRIDED_SLICE": (None, 1, 1, 1),
    "SUM": (None, None),
    "TRANSPOSE_CONV": (1, 4, 4),
}
_ANY_NUMBER_OF_OPERANDS = ("CONCATENATION", "PACK", "ADD_N")

# Which of them counts axes or pixels.
_INDICES = {
    "CUMSUM": 1,
    "MEAN": 1,
    "MIRROR_PAD": 1,
    "PAD": 1,
    "PADV2": 1,
    "REDUCE_MAX": 1,
    "REDUCE_MIN": 1,
    "SPLIT": 0,
    "SPLIT_V": 2,
    "STRIDED_SLICE": 3,
    "SUM": 1,
    "TRANSPOSE_CONV": 0,
}


class CountedBytes(bytes):
    """The bytes of a file, of which four times as many can be copied out as there are.

    Strings in a flatbuffer may overlap, so that a small file could hold any number of long ones.

    Attributes:
        copied: How many bytes were copied out.
        entries: For readers to count what else may overlap.
    """

    copied = 0
    entries = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            self.copied += len(part)
            if self.copied > 4 * len(self):
                raise ValueError("its texts overlap")
        return part


def check_tables(model, size):
    """Checks that the vectors of tables of a model that is not yet unpacked can be in the file.

    Args:
        model: The schema's `Model`.
        size: Bytes of the file.

    Raises:
        ValueError: If they are more than have room there, since they overlap.
    """
    limit = min(_MOST_TABLES, size // _TABLE_SIZE)
    count = 0
    for more in _table_counts(model):
        count += more
        if count > limit:
            raise ValueError(f"it describes more than {limit:,} things, which do not fit into it")


def _table_counts(model):
    yield model.OperatorCodesLength() + model.BuffersLength() + model.MetadataLength()
    yield model.ExternalBufferGroupsLength() + model.ExternalBuffersLength()
    yield model.SubgraphsLength() + model.SignatureDefsLength()
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        yield graph.TensorsLength() + graph.OperatorsLength()
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            sparsity = tensor.Sparsity()
            yield tensor.VariantTensorsLength() + (sparsity.DimMetadataLength() if sparsity else 0)
    for signature in map(model.SignatureDefs, range(model.SignatureDefsLength())):
        yield signature.InputsLength() + signature.OutputsLength()


def validate(model, size, op_names, type_names):
    """Checks every index, shape and size, and puts empty lists where a list is left out.

    Args:
        model: The schema's `ModelT`; empty constants become None.
        size: Bytes of the file.
        op_names: Dict: number → name of an operation of the schema.
        type_names: The same of element types.

    Raises:
        ValueError: If anything does not hold together; the message says what.
    """
    _complete(model)
    if not model.subgraphs:
        raise ValueError("it has no graph")
    for number, buffer in enumerate(model.buffers):
        if buffer.offset > 1 and buffer.offset + buffer.size > size:
            raise ValueError(f"buffer {number} reaches beyond the end of the file")
    _check_vectors(model, size)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _check_tensor(tensor, model.buffers, type_names)
        for operator in graph.operators:
            _check_operator(operator, graph, model)
            _check_operands(operator, graph, model, op_names, type_names)
        _check_indices("a graph", "tensor", (*graph.inputs, *graph.outputs), len(graph.tensors))
    for signature in model.signatureDefs:
        _check_signature(signature, model)
    used = [entry.buffer for entry in model.metadata]
    _check_indices("an entry", "buffer", used, len(model.buffers))


def _complete(model):
    """Puts empty lists in place of those that are left out."""
    _fill(model, "operatorCodes", "subgraphs", "buffers", "metadata", "signatureDefs")
    for graph in model.subgraphs:
        _fill(graph, "tensors", "operators", "inputs", "outputs")
        for operator in graph.operators:
            _fill(operator, "inputs", "outputs")
        for tensor in graph.tensors:
            _fill(tensor, "shape")
    for signature in model.signatureDefs:
        _fill(signature, "inputs", "outputs")
    for buffer in model.buffers:
        if buffer.data is not None and not len(buffer.data):
            buffer.data = None


def _fill(table, *names):
    for name in names:
        if getattr(table, name) is None:
            setattr(table, name, [])


def _check_vectors(model, size):
    """Vectors may overlap, too: together they are no longer than the file, in numbers."""
    count = 0
    for graph in model.subgraphs:
        tables = ((t.shape, t.shapeSignature) for t in graph.tensors)
        steps = (t.quantization for t in graph.tensors if t.quantization is not None)
        scales = ((step.scale, step.zeroPoint) for step in steps)
        operators = ((o.inputs, o.outputs) for o in graph.operators)
        for vectors in ((graph.inputs, graph.outputs), *tables, *scales, *operators):
            count += sum(len(vector) for vector in vectors if vector is not None)
            if count > size:
                raise ValueError("its lists overlap")


def _check_tensor(tensor, buffers, type_names):
    name = (tensor.name or b"").decode(errors="replace")
    _check_indices(f"tensor {name!r}", "buffer", [tensor.buffer], len(buffers))
    if tensor.type not in type_names:
        raise ValueError(f"tensor {name!r} has the element type {tensor.type}, which is unknown")
    shape = [int(length) for length in tensor.shape]
    if len(shape) > _LARGEST_RANK or min(shape, default=0) < 0:
        raise ValueError(f"tensor {name!r} has the shape {shape[:_LARGEST_RANK]}")
    if math.prod(shape) > _MOST_ELEMENTS:
        raise ValueError(f"tensor {name!r} of shape {shape} is larger than any device")
    signature = tensor.shapeSignature
    if signature is not None and len(signature) and len(signature) != len(shape):
        raise ValueError(f"tensor {name!r} has two numbers of axes")
    if signature is not None and np.any(np.asarray(signature) < -1):
        raise ValueError(f"tensor {name!r} has a negative size")
    _check_quantization(name, tensor.quantization, shape)
    _check_constant(name, tensor, shape, buffers[tensor.buffer].data, type_names[tensor.type])


def _check_quantization(name, quantization, shape):
    if quantization is None or quantization.scale is None:
        return
    scales, zeros = quantization.scale, quantization.zeroPoint
    if not np.all(np.isfinite(scales)):
        raise ValueError(f"tensor {name!r} has a scale that is not finite")
    if len(scales) and (zeros is None or len(zeros) != len(scales)):
        raise ValueError(f"tensor {name!r} has not as many zero points as scales")
    axis = quantization.quantizedDimension
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        raise ValueError(f"tensor {name!r} of shape {shape} has {len(scales)} scales")


def _check_constant(name, tensor, shape, data, kind):
    if data is None or tensor.sparsity is not None or kind not in _ITEM_SIZES:
        return
    needed = math.prod(shape) * _ITEM_SIZES[kind]
    if len(data) != needed:
        raise ValueError(f"constant {name!r} has {len(data)} bytes where its shape needs {needed}")


# None of these takes an input that may be left out; what others need besides the first is theirs.
_OF_TWO = ("ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "SUB")


def _check_operator(operator, graph, model):
    _check_indices("an operation", "code", [operator.opcodeIndex], len(model.operatorCodes))
    count = len(graph.tensors)
    _check_indices("an operation", "tensor", operator.outputs, count)
    _check_indices("an operation", "tensor", [i for i in operator.inputs if i != -1], count)
    options = operator.builtinOptions or operator.builtinOptions2
    for name, value in vars(options).items() if options is not None else ():
        if name.endswith("SubgraphIndex") or name == "subgraph":
            _check_indices("an operation", "graph", [value], len(model.subgraphs))
        positive = name.startswith(("stride", "dilation", "filter", "blockSize"))
        if positive and isinstance(value, int) and value < 1:
            raise ValueError(f"an operation has {name} {value}")


def _check_operands(operator, graph, model, op_names, type_names):
    """Checks the inputs of the operations that device rules and counts look into."""
    code = model.operatorCodes[operator.opcodeIndex]
    name = op_names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "")
    if name in _ANY_NUMBER_OF_OPERANDS:
        ranks = (None,) * max(len(operator.inputs), 1)
    elif name in _OPERANDS:
        ranks = _OPERANDS[name]
    else:
        if -1 in operator.inputs[: 2 if name in _OF_TWO else 1] and name != "CUSTOM":
            raise ValueError(f"{name} lacks an input or output")
        return
    present = [graph.tensors[i] if i >= 0 else None for i in operator.inputs[: len(ranks)]]
    if len(present) < len(ranks) or None in present or not len(operator.outputs):
        raise ValueError(f"{name} lacks an input or output")
    for tensor, rank in zip(present, ranks, strict=True):
        if rank is not None and len(tensor.shape) != rank:
            raise ValueError(f"{name} has an input of {len(tensor.shape)} axes, not {rank}")
    if name in _INDICES and type_names[present[_INDICES[name]].type] not in _INDEX_TYPES:
        raise ValueError(f"{name} has indices that are no integers")
    check = _SHAPES.get(name)
    if check is not None:
        check(name, present, graph.tensors[operator.outputs[0]])


def _check_convolution(name, inputs, _output):
    channels, width = inputs[0].shape[-1], inputs[1].shape[-1]
    if not width or not channels or channels % width:
        raise ValueError(f"{name} has kernels of {width} channels for images of {channels}")


def _check_pad(name, inputs, output):
    rank = len(inputs[0].shape)
    if not rank or tuple(inputs[1].shape) != (rank, 2) or len(output.shape) != rank:
        raise ValueError(f"{name} has amounts of shape {tuple(inputs[1].shape)} for {rank} axes")
    if len(inputs) > 2 and math.prod(map(int, inputs[2].shape)) != 1:
        raise ValueError(f"{name} fills with more than one number")


def _check_product(name, inputs, _output):
    if min(len(tensor.shape) for tensor in inputs) < 2:
        raise ValueError(f"{name} has an input that is no matrix")


_SHAPES = {
    "BATCH_MATMUL": _check_product,
    "CONV_2D": _check_convolution,
    "MIRROR_PAD": _check_pad,
    "PAD": _check_pad,
    "PADV2": _check_pad,
}


def _check_signature(signature, model):
    if not signature.signatureKey:
        raise ValueError("a signature has no name")
    signature.signatureKey.decode()
    _check_indices("a signature", "graph", [signature.subgraphIndex], len(model.subgraphs))
    count = len(model.subgraphs[signature.subgraphIndex].tensors)
    for entry in (*signature.inputs, *signature.outputs):
        _check_indices("a signature", "tensor", [entry.tensorIndex], count)
        if entry.name is None:
            raise ValueError("a signature has a tensor without a name")
        entry.name.decode()


def _check_indices(owner, kind, indices, count):
    if any(not 0 <= index < count for index in indices):
        raise ValueError(f"{owner} names a {kind} that does not exist")
