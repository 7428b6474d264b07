"""Runs a `.tflite` file on arrays."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdl._typing import Path
from kdl.data._arrays import whole_numbers
from kdl.deploy.runtime._graphs import dequantize, dtype_of, graph_of, quantize, shape_of
from kdl.deploy.tflite.file import (
    interpreter_class,
    parse_tflite,
    plain_kernels,
    signature_names,
    signature_tensors,
)


class TFLiteRunner:
    """A `.tflite` file in the LiteRT interpreter, fed with float arrays.

    Integer inputs and outputs are converted by the file's scales, so that every kind of file is
    used alike. Inputs of any number are run in the file's own batches; arrays of exactly the shapes
    that the file takes are run once, as they are, whatever their axes are.

    Args:
        path: The file.
        threads: Number of threads. Defaults to 1.
        delegate: Whether XNNPACK runs what it takes, as LiteRT does by default (True); or all is
            run by LiteRT's reference kernels, which round integers otherwise at times.
        signature: Name of the signature to run, of a file with several. By default the first.
        input_shape: Shape of the input, needed where the file leaves sizes open: without batch, or
            with it; a dict of shapes by name where there are several inputs. By default the file's
            own.

    Attributes:
        path: The file.
        signature: Name of the signature that is run; None if the file has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, has no such signature, leaves sizes open that are not given,
            or cannot be run.
        ImportError: If `ai-edge-litert` is missing.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        delegate: bool = True,
        signature: str | None = None,
        input_shape: Any = None,
    ) -> None:
        self.path = os.fspath(path)
        model = parse_tflite(path)
        self.signature = self._checked_signature(model, signature)
        options = {} if delegate else {"experimental_op_resolver_type": plain_kernels()}
        with self._failures_explained():
            self._interpreter = interpreter_class()(
                model_path=self.path, num_threads=threads, **options
            )
            self._graph = graph_of(self._interpreter, model, self.signature)
        self._open = self._open_shapes(model)
        with self._failures_explained():
            self._graph.resize(self._shapes(input_shape))

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs in the signature."""
        return list(self._graph.inputs)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input, batch included.

        Raises:
            ValueError: If there are several.
        """
        if len(self.input_shapes) != 1:
            raise ValueError(
                f"{self.path} has {len(self.input_shapes)} inputs; one was expected. input_shapes "
                f"has them all."
            )
        return self.input_shapes[0]

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the inputs, batch included, in the order of `input_names`."""
        return [shape_of(details) for details in self._graph.inputs.values()]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs in the signature."""
        return list(self._graph.outputs)

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the outputs, batch included, in the order of `output_names`."""
        return [shape_of(details) for details in self._graph.outputs.values()]

    @property
    def output_dtypes(self) -> list[np.dtype]:
        """Dtypes of what `predict` gives, in the order of `output_names`."""
        return [dtype_of(details) for details in self._graph.outputs.values()]

    def check_inputs(self, inputs: Any) -> Any:
        """Raises ValueError unless `inputs` are arrays of the file's input shapes."""
        arrays = self._as_dict(inputs)
        if self._are_whole(arrays):
            return
        self._batch()
        for name, array in arrays.items():
            self._check_shape(name, array, len(arrays) > 1)
        if len({len(array) for array in arrays.values()}) > 1:
            counts = {name: len(array) for name, array in arrays.items()}
            raise ValueError(f"All inputs must have as many samples; received {counts}.")

    def predict(self, inputs: Any, places: Sequence[int] | None = None) -> Any:
        """Outputs for `inputs`, as a list of arrays in the order of `output_names`.

        They are float32, but for outputs that are integers without a scale.

        Args:
            inputs: Array `(samples, …)`; where the file has several inputs a dict of them by name,
                or a list in the order of `input_names`, which need not be that of the model. Arrays
                of the file's own `input_shapes` are run once, and the outputs are given whole;
                others need inputs and outputs whose first axis is the file's batch.
            places: Places of the outputs to give, among `output_names`. Defaults to all.

        Raises:
            ValueError: If the shapes do not fit the file, an input of integers cannot hold the
                numbers (NaN, infinity, fractions as of scaled images, or integers out of its
                range), or LiteRT cannot run the file on them.
        """
        self.check_inputs(inputs)
        arrays = {n: self._holdable(n, array) for n, array in self._as_dict(inputs).items()}
        names = [self.output_names[place] for place in places or range(len(self.output_names))]
        if self._are_whole(arrays):
            return self._run(arrays, names)
        return self._run_in_batches(arrays, names)

    def _run_in_batches(self, arrays, names):
        first = next(iter(arrays))
        batch, samples = self._batch(), len(arrays[first])
        collected = []
        for start in range(0, samples, batch):
            part = {name: array[start : start + batch] for name, array in arrays.items()}
            missing = batch - len(part[first])
            filled = {name: _filled(array, missing) for name, array in part.items()}
            outputs = self._run(filled, names)
            self._check_batches(names, outputs, batch)
            collected.append([output[: batch - missing] for output in outputs])
        if not collected:  # the file is run once, for shapes and dtypes
            blank = {name: np.zeros((batch, *a.shape[1:]), a.dtype) for name, a in arrays.items()}
            outputs = self._run(blank, names)
            self._check_batches(names, outputs, batch)
            collected.append([output[:0] for output in outputs])
        return [np.concatenate(parts) for parts in zip(*collected, strict=True)]

    def _are_whole(self, arrays):
        """Tell if the file takes these arrays as they are, in one run."""
        return all(array.shape == shape_of(self._graph.inputs[n]) for n, array in arrays.items())

    def _batch(self):
        """The batch of all inputs, or ValueError if they have none in common."""
        batches = {shape[:1] for shape in self.input_shapes}
        if len(batches) > 1 or () in batches:
            shapes = dict(zip(self.input_names, self.input_shapes, strict=True))
            raise ValueError(
                f"{self.path} takes inputs without a common batch: pass arrays of exactly these "
                f"shapes, {shapes}, for one run."
            )
        return batches.pop()[0]

    def _check_shape(self, name, array, several):
        """Raises ValueError unless an array is a number of samples for an input."""
        shape = shape_of(self._graph.inputs[name])
        if not array.ndim or array.shape[1:] != shape[1:]:
            which = f" ({name})" if several else ""
            raise ValueError(
                f"{self.path} takes inputs of shape {shape[1:]}{which}; received "
                f"{array.shape[1:]}.{self._how_to_resize()}"
            )

    def _check_batches(self, names, outputs, batch):
        """Raises ValueError if an output cannot be parted into samples."""
        for name, output in zip(names, outputs, strict=True):
            if output.shape[:1] != (batch,):
                raise ValueError(
                    f"{self.path} gives {name} of shape {output.shape}, whose first axis is not "
                    f"the batch of {batch}: pass arrays of exactly its input_shapes, "
                    f"{self.input_shapes}, one run at a time."
                )

    def _holdable(self, name, array):
        """An array as an input can hold it; ValueError if that takes integers and has none."""
        details = self._graph.inputs[name]
        if not np.issubdtype(details["dtype"], np.integer):
            return array
        if not np.isfinite(array).all():
            raise ValueError(
                f"{self.path} takes integers for {name}, which NaN and infinity are none of."
            )
        limits = np.iinfo(details["dtype"])
        scale, _ = details["quantization"]
        if scale or not array.size:
            return array
        argument = f"The input {name} of {self.path}"
        array = whole_numbers(array, argument, limits.dtype.name, resized=True)
        if not limits.min <= array.min() <= array.max() <= limits.max:
            raise ValueError(
                f"{self.path} takes integers from {limits.min} to {limits.max} for {name}; "
                f"received {array.min()} to {array.max()}."
            )
        return array

    def invoke(self) -> None:
        """Runs the file once on whatever input it holds: what a stopwatch wants."""
        with self._failures_explained():
            self._graph.invoke()

    def _run(self, batch, names):
        inputs = {name: quantize(x, self._graph.inputs[name]) for name, x in batch.items()}
        with self._failures_explained():
            outputs = self._graph.run(inputs)
        return [dequantize(outputs[name], self._graph.outputs[name]) for name in names]

    def _checked_signature(self, model, name):
        names = signature_names(model)
        if name is not None and name not in names:
            raise ValueError(f"{self.path} has no signature {name!r}; it has {names}.")
        return name or next(iter(names), None)

    def _open_shapes(self, model):
        """Dict: name → shape of each input that leaves sizes open beside the batch, as −1."""
        try:
            inputs, _ = signature_tensors(model, self.signature)
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}.") from error
        signatures = {name: tensor.shapeSignature for name, tensor in inputs.items()}
        return {
            name: tuple(int(n) for n in shape)
            for name, shape in signatures.items()
            if shape is not None and any(n < 0 for n in shape[1:])
        }

    def _as_dict(self, inputs):
        names = self.input_names
        if isinstance(inputs, dict):
            if set(inputs) != set(names):
                raise ValueError(f"{self.path} takes inputs {names}; received {list(inputs)}.")
            return {name: np.asarray(inputs[name]) for name in names}
        several = isinstance(inputs, list | tuple) and len(names) > 1
        arrays = [np.asarray(array) for array in (inputs if several else [inputs])]
        if len(arrays) != len(names):
            raise ValueError(
                f"{self.path} takes {len(names)} inputs, {names}; received {len(arrays)}. Pass a "
                f"list of arrays, or a dict by name."
            )
        return dict(zip(names, arrays, strict=True))

    def _shapes(self, given):
        """Dict: name → whole shape of an input, of those for which `given` has one."""
        if given is None:
            return {}
        names = self.input_names
        given = given if isinstance(given, dict) else dict.fromkeys(names[:1], given)
        if not set(given) <= set(names) or (len(names) > 1 and set(given) != set(names)):
            raise ValueError(f"input_shape must name the inputs {names}; received {given}.")
        return {name: self._whole_shape(name, tuple(shape)) for name, shape in given.items()}

    def _whole_shape(self, name, shape):
        own = shape_of(self._graph.inputs[name])
        whole = (*own[:1], *shape) if len(shape) == len(own) - 1 else shape
        sizes = self._open.get(name, own)
        fits = len(whole) == len(own) and all(
            b in (a, -1) and a > 0 for a, b in zip(whole[1:], sizes[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"input_shape={shape} does not fit the input of {self.path}, {_open(sizes)}."
            )
        return whole

    def _how_to_resize(self):
        if not self._open:
            return ""
        sizes = ", ".join(f"{name} {_open(shape)}" for name, shape in self._open.items())
        return (
            f" It leaves sizes open: {sizes}. Give them: TFLiteRunner(path, input_shape=…), "
            f"without the batch."
        )

    @contextlib.contextmanager
    def _failures_explained(self):
        try:
            yield
        except (ValueError, RuntimeError) as error:
            if str(error).startswith("input_shape"):
                raise
            advice = self._how_to_resize() if hasattr(self, "_open") else ""
            raise ValueError(f"{self.path} cannot be run by LiteRT: {error}{advice}") from error


def _open(shape):
    """A shape in words, with `?` for what is open."""
    return f"({', '.join('?' if n < 0 else str(n) for n in shape)})"


def _filled(array, missing):
    """A batch with its last sample repeated `missing` times."""
    if not missing:
        return array
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])
