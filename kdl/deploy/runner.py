"""Runs a `.tflite` file on arrays."""

import os

import numpy as np

from kdl.deploy.tflite_file import interpreter_class, plain_kernels, read_tflite


class TFLiteRunner:
    """A `.tflite` file in the LiteRT interpreter, fed with float arrays.

    Integer inputs and outputs are converted by the file's scales, so that every kind of file is
    used alike. Inputs of any number are run in the file's own batches.

    Args:
        path: The file, with one input.
        threads: Number of threads. Defaults to 1.
        delegate: Whether XNNPACK runs what it takes, as LiteRT does by default (True); or all is
            run by LiteRT's plain kernels, which round integers otherwise at times.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or has several inputs.
        ImportError: If `ai-edge-litert` is missing.
    """

    def __init__(self, path, threads=1, delegate=True):
        read_tflite(path)
        self.path = os.fspath(path)
        options = {} if delegate else {"experimental_op_resolver_type": plain_kernels()}
        try:
            self._interpreter = interpreter_class()(
                model_path=self.path, num_threads=threads, **options
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{self.path} cannot be run by LiteRT: {error}") from error
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise ValueError(f"{self.path} has {len(inputs)} inputs; one was expected.")
        self._input = inputs[0]
        details = {d["index"]: d for d in self._interpreter.get_output_details()}
        signatures = self._interpreter.get_signature_list()
        if signatures:
            runner = self._interpreter.get_signature_runner(next(iter(signatures)))
            named = {name: d["index"] for name, d in runner.get_output_details().items()}
        else:
            named = {d["name"]: index for index, d in details.items()}
        self._outputs = {name: details[index] for name, index in named.items()}

    @property
    def input_shape(self):
        """Shape of the input, batch included."""
        return tuple(int(n) for n in self._input["shape"])

    @property
    def output_names(self):
        """Names of the outputs in the signature."""
        return list(self._outputs)

    @property
    def output_shapes(self):
        """Shapes of the outputs, batch included, in the order of `output_names`."""
        return [tuple(int(n) for n in details["shape"]) for details in self._outputs.values()]

    def check_inputs(self, inputs):
        """Raises ValueError unless `inputs` are arrays of the file's input shape."""
        if tuple(inputs.shape[1:]) != self.input_shape[1:]:
            raise ValueError(
                f"{self.path} takes inputs of shape {self.input_shape[1:]}; received "
                f"{tuple(inputs.shape[1:])}."
            )

    def predict(self, inputs):
        """Outputs for `inputs`, as a list of float32 arrays in the order of `output_names`.

        Args:
            inputs: Array `(samples, …)`.

        Raises:
            ValueError: If the shape does not fit the file.
        """
        self.check_inputs(inputs)
        batch = self.input_shape[0]
        collected = []
        for start in range(0, len(inputs), batch):
            part = inputs[start : start + batch]
            missing = batch - len(part)
            if missing:
                part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
            outputs = self._run(part)
            collected.append([o[: batch - missing] for o in outputs])
        return [np.concatenate(parts) for parts in zip(*collected, strict=True)]

    def invoke(self):
        """Runs the file once on whatever input it holds: what a stopwatch wants."""
        self._interpreter.invoke()

    def _run(self, batch):
        self._interpreter.set_tensor(self._input["index"], _quantize(batch, self._input))
        self._interpreter.invoke()
        get = self._interpreter.get_tensor
        return [_dequantize(get(d["index"]), d) for d in self._outputs.values()]


def _quantize(values, details):
    dtype = details["dtype"]
    scale, zero_point = details["quantization"]
    if not np.issubdtype(dtype, np.integer) or not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # As `kdl.ops.fake_quantize` rounds: what lies halfway goes up.
    steps = np.floor(np.asarray(values, "float32") / np.float32(scale) + np.float32(0.5))
    return np.clip(steps + zero_point, limits.min, limits.max).astype(dtype)


def _dequantize(values, details):
    scale, zero_point = details["quantization"]
    if not np.issubdtype(details["dtype"], np.integer) or not scale:
        return values.copy()
    return (values.astype("float32") - zero_point) * np.float32(scale)
