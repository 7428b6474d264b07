"""Writes the smallest `.tflite` file that holds an operation, without any converter."""

import numpy as np

FLOAT, INT8 = "FLOAT32", "INT8"

# Operation → the table of its options in the schema, where its name does not tell.
_OPTIONS = {
    "ARG_MAX": "ArgMaxOptions",
    "ARG_MIN": "ArgMinOptions",
    "BATCH_TO_SPACE_ND": "BatchToSpaceNDOptions",
    "CONV_3D_TRANSPOSE": "Conv3DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "REDUCE_ALL": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "SPACE_TO_BATCH_ND": "SpaceToBatchNDOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "CONV_2D": "Conv2DOptions",
    "CONV_3D": "Conv3DOptions",
    "CUMSUM": "CumsumOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "TOPK_V2": "TopKV2Options",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTMOptions",
}
# Operations whose first version no runtime has any more.
_VERSIONS = {"BROADCAST_TO": 2}
SCALE = 0.05


class TinyFile:
    """A graph that is built operation by operation and written."""

    def __init__(self):
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.codes, self.operators, self.tensors = [], [], []
        self.buffers = [schema.BufferT()]
        self.others = []

    def tensor(self, shape, kind=FLOAT, values=None, open_axes=(), scale=SCALE, zero_point=0):
        """Number of a new tensor; constant if it has values; without quantization if scale=0."""
        made = self.schema.TensorT()
        made.shape = np.array(shape, "int32")
        if open_axes:
            made.shapeSignature = [-1 if i in open_axes else n for i, n in enumerate(shape)]
        made.hasRank = True
        made.type = getattr(self.schema.TensorType, kind)
        made.name = f"t{len(self.tensors)}"
        if kind in ("INT8", "UINT8", "INT16") and scale:
            made.quantization = self.schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
        if values is not None:
            buffer = self.schema.BufferT()
            buffer.data = list(np.ascontiguousarray(values).tobytes())
            made.buffer = len(self.buffers)
            self.buffers.append(buffer)
        else:
            made.buffer = 0
        self.tensors.append(made)
        return len(self.tensors) - 1

    def constant(self, values, kind=None):
        """Number of a new constant tensor."""
        values = np.asarray(values)
        return self.tensor(values.shape, kind or str(values.dtype).upper(), values)

    def weights(self, shape, kind=FLOAT):
        """Random constants: small floats or integers."""
        rng = np.random.default_rng(0)
        if kind == INT8:
            return self.constant(rng.integers(-9, 10, shape).astype("int8"))
        return self.constant(rng.standard_normal(shape).astype("float32"))

    def bias(self, width, kind=FLOAT):
        """A bias of zeros."""
        if kind == FLOAT:
            return self.constant(np.zeros(width, "float32"))
        number = self.constant(np.zeros(width, "int32"))
        quantization = self.schema.QuantizationParametersT()
        quantization.scale, quantization.zeroPoint = [SCALE * SCALE], [0]
        self.tensors[number].quantization = quantization
        return number

    def apply(self, operation, inputs, *results, **options):
        """Adds an operation; results are `(shape, type)` pairs. Gives the results' numbers."""
        made = self.schema.OperatorT()
        made.opcodeIndex = self._code(operation)
        made.inputs = inputs
        made.outputs = [self.tensor(*result) for result in results]
        if operation.startswith("CUSTOM:"):
            made.customOptions = list(options.pop("content", b""))
        self._set_options(made, operation, options)
        self.operators.append(made)
        return made.outputs[0] if len(results) == 1 else list(made.outputs)

    def set_aside(self, inputs, outputs):
        """Ends a graph that another one calls, and begins that one; gives its number."""
        self.others.append(self._graph(inputs, outputs))
        self.operators, self.tensors = [], []
        return len(self.others)

    def write(self, path, inputs, outputs):
        """Writes the file; gives its path."""
        import flatbuffers

        schema = self.schema
        model = schema.ModelT()
        model.version, model.operatorCodes, model.buffers = 3, self.codes, self.buffers
        model.subgraphs = [self._graph(inputs, outputs), *self.others]
        model.signatureDefs = [self._signature(inputs, outputs)]
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _graph(self, inputs, outputs):
        graph = self.schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = inputs, outputs
        return graph

    def _code(self, operation):
        code = self.schema.OperatorCodeT()
        name, _, custom = operation.partition(":")
        number = int(custom) if name == "NUMBER" else getattr(self.schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
        code.version = _VERSIONS.get(name, 1)
        if name == "CUSTOM":
            code.customCode = custom
        self.codes.append(code)
        return len(self.codes) - 1

    def _set_options(self, made, operation, options):
        camel = "".join(part.capitalize() for part in operation.split("_"))
        table = _OPTIONS.get(operation, f"{camel}Options")
        kinds = vars(self.schema.BuiltinOptions)
        if table not in kinds:
            assert not options, f"{operation} has no options in the schema"
            return
        made.builtinOptionsType = kinds[table]
        made.builtinOptions = getattr(self.schema, f"{table}T")()
        # The schema leaves them at zero, which no operation can do with.
        for name in ("strideD", "strideH", "strideW", "filterHeight", "filterWidth"):
            if hasattr(made.builtinOptions, name):
                setattr(made.builtinOptions, name, 1)
        for name, value in options.items():
            assert hasattr(made.builtinOptions, name), f"{table} has no {name}"
            setattr(made.builtinOptions, name, value)

    def _signature(self, inputs, outputs):
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = (
            [self._entry(f"{kind}{i}", number) for i, number in enumerate(numbers)]
            for kind, numbers in (("x", inputs), ("y", outputs))
        )
        return signature

    def _entry(self, name, number):
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, number
        return entry


def unscaled_file(path, kind):
    """A file that gives three integers or truth values as they are."""
    tiny = TinyFile()
    x = tiny.tensor((1, 3), kind, scale=0)
    shape = tiny.constant(np.int32([1, 3]))
    return tiny.write(path, [x], [tiny.apply("RESHAPE", [x, shape], ((1, 3), kind, None, (), 0))])
