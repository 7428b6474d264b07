"""Base of the runners of all tasks: images become inputs."""

import os
from typing import Any

import numpy as np

from kdl._typing import Path
from kdl.deploy.runtime._keras_runner import KerasRunner
from kdl.deploy.runtime.runner import TFLiteRunner
from kdl.deploy.tflite.metadata import find_info


def open_runner(model, threads=1):
    """`(runner, info)` of a `.tflite` file or a Keras model: what runs it, and its `ModelInfo`."""
    if isinstance(model, str | os.PathLike):
        return TFLiteRunner(model, threads), find_info(model)
    runner = KerasRunner(model)
    return runner, runner.info


class ImageRunner:
    """Base of the runners that take images.

    A task says in `_find_output` which output it reads.

    Args:
        path: A `.tflite` file with one input, or a Keras model.
        threads: Number of threads that run a file. Defaults to 1.
    """

    def __init__(self, path: Path | Any, threads: int = 1) -> None:
        self._runner, self.info = open_runner(path, threads)
        self.path = self._runner.path
        self._check_input()
        self._output = self._find_output()

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input, batch included."""
        return self._runner.input_shape

    def _find_output(self):
        """Place of the output that the task reads."""
        raise NotImplementedError

    def _is_several(self, images):
        if isinstance(images, list | tuple):
            return True
        if not isinstance(images, np.ndarray):
            return False
        if images.dtype == np.uint8:
            return images.ndim == 4
        return images.ndim == len(self._runner.input_shape)

    def _input(self, image):
        if isinstance(image, np.ndarray) and image.dtype != np.uint8:
            return self._finished(image)
        if self.info.input_spec is None:
            raise ValueError(
                f"{self.path} does not say how an image becomes its input. Export it with "
                f"input_spec=, or pass float arrays of shape {self._runner.input_shape[1:]}."
            )
        return self.info.input_spec.load(image)

    def _finished(self, array):
        shape = self._runner.input_shape[1:]
        if not np.issubdtype(array.dtype, np.floating) or not _fits(array.shape, shape):
            raise ValueError(
                f"Expected a uint8 image, or a float input of shape {shape}; received "
                f"{array.dtype} of shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError("The input holds NaN or infinite numbers.")
        return array.astype("float32")

    def _check_input(self):
        names = self._runner.input_names
        if len(names) > 1:
            raise ValueError(
                f"{self.path} takes {len(names)} inputs, {names}; {type(self).__name__} takes "
                f"images alone. Use TFLiteRunner, with a dict of arrays."
            )
        spec, shape = self.info.input_spec, self._runner.input_shape[1:]
        if spec is not None and not _fits(spec.shape, shape):
            raise ValueError(
                f"{self.path} takes inputs of shape {shape}, but describes them as "
                f"{spec.shape}. Export it with an input_spec that fits."
            )

    def _check_labels(self, classes):
        labels = self.info.labels
        if labels is not None and len(labels) != classes:
            raise ValueError(
                f"{self.path} holds {len(labels)} labels for {classes} classes. Export it again."
            )

    def _describe(self):
        """The model in a line, for `repr`."""
        sizes = "×".join("?" if n is None else str(n) for n in self.input_shape[1:])
        return f"{type(self).__name__}: {self.path}, input {sizes}"


def _fits(shape, wanted):
    """Tell if sizes are those that are wanted, or are free there."""
    return len(shape) == len(wanted) and all(
        b in (a, None) for a, b in zip(shape, wanted, strict=True)
    )
