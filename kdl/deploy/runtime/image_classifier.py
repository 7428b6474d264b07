"""Image classification with a `.tflite` file, without Keras and TensorFlow."""

import os
from typing import Any

import numpy as np

from kdl._checks import check_integer
from kdl._typing import Path
from kdl._words import counted
from kdl.deploy.runtime.classification import Classification
from kdl.deploy.runtime.runner import TFLiteRunner
from kdl.deploy.tflite.metadata import find_info
from kdl.deploy.tflite.tensor_names import SCORES


class ImageClassifier:
    """A classifier in a `.tflite` file, used with images.

    The file tells by itself how an image becomes its input and what its classes are called, if it
    was exported with `input_spec` and `labels`. Needs `ai-edge-litert` and NumPy, and Pillow where
    images are read or resized: neither Keras nor TensorFlow.

    Args:
        path: The file, with one input.
        threads: Number of threads. Defaults to 1.

    Attributes:
        info: The `kdl.data.ModelInfo` found in the file.
        labels: Names of the classes; their numbers as text if the file has no names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or no classifier, or its labels or input do not fit it.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import kdl, pathlib
        >>> files = pathlib.Path(kdl.__file__).parents[1] / "saved_models" / "quickstart"
        >>> runner = kdl.deploy.ImageClassifier(files / "int8.tflite")
        >>> _, (images, labels) = kdl.data.digits(size=48)
        >>> [classification] = runner.predict(images[0], top=1)
        >>> classification.label, int(labels[0])
        ('7', 7)
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._runner = TFLiteRunner(path, threads)
        self.path = os.fspath(path)
        self.info = find_info(path)
        self._check_input()
        self._output = self._find_output()
        classes = self._runner.output_shapes[self._output][1]
        labels = self.info.labels
        if labels is not None and len(labels) != classes:
            raise ValueError(
                f"{self.path} holds {len(labels)} labels for {classes} classes. Export it again."
            )
        self.labels = labels or [str(index) for index in range(classes)]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the file's input, batch included."""
        return self._runner.input_shape

    def __repr__(self):
        height_width_channels = "×".join(map(str, self.input_shape[1:]))
        classes = counted(len(self.labels), "class", "classes")
        return f"<ImageClassifier: {self.path}, input {height_width_channels}, {classes}>"

    def predict(self, images: Any, top: int = 3) -> list:
        """The likeliest classes of one image, or of each of several.

        An image is the name of a file, an open file, a Pillow image, or a uint8 array
        `(height, width)` or `(height, width, channels)` in RGB of any size; it is resized and
        normalized as the file's input specification says. A float array is taken for a finished
        input, of the file's input shape.

        Args:
            images: One image, or several: a list or tuple, or an array with the samples first.
            top: How many classes to name, the likeliest first; at most all are. Defaults to 3.

        Returns:
            List of `Classification`, for one image; a list of such lists for several.

        Raises:
            FileNotFoundError: If there is no such image.
            ValueError: If an image cannot be read or does not fit, or the file does not say how a
                image becomes its input.
            ImportError: If Pillow is needed and missing.
        """
        top = check_integer("top", top)
        several = self._is_several(images)
        images = list(images) if several else [images]
        if not images:
            return []
        inputs = np.stack([self._input(image) for image in images])
        scores = self._runner.predict(inputs)[self._output]
        classifications = [self._classifications(row, top) for row in scores]
        return classifications if several else classifications[0]

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
        if not np.issubdtype(array.dtype, np.floating) or array.shape != shape:
            raise ValueError(
                f"Expected a uint8 image, or a float input of shape {shape}; received "
                f"{array.dtype} of shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise ValueError("The input holds NaN or infinite numbers.")
        return array.astype("float32")

    def _classifications(self, scores, top):
        order = np.argsort(-scores, kind="stable")[:top]
        return [Classification(self.labels[i], int(i), float(scores[i])) for i in order]

    def _check_input(self):
        names = self._runner.input_names
        if len(names) > 1:
            raise ValueError(
                f"{self.path} takes {len(names)} inputs, {names}; ImageClassifier takes images "
                f"alone. Use TFLiteRunner, with a dict of arrays."
            )
        spec, shape = self.info.input_spec, self._runner.input_shape[1:]
        if spec is not None and shape != spec.shape:
            raise ValueError(
                f"{self.path} takes inputs of shape {shape}, but describes them as "
                f"{spec.shape}. Export it with an input_spec that fits."
            )

    def _find_output(self):
        names, shapes = self._runner.output_names, self._runner.output_shapes
        rows = [i for i, shape in enumerate(shapes) if len(shape) == 2 and shape[1] > 1]
        named = [i for i in rows if names[i] in SCORES]
        for found in (rows, named):
            if len(found) == 1:
                return found[0]
        raise ValueError(
            f"{self.path} is no classifier: expected one output (batch, two classes or more); it "
            f"has {dict(zip(names, shapes, strict=True))}. Use TFLiteRunner for its arrays."
        )
