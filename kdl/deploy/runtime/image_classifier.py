"""Image classification with a `.tflite` file, without Keras and TensorFlow."""

from typing import Any

import numpy as np

from kdl._checks import check_integer
from kdl._typing import Path
from kdl._words import counted
from kdl.deploy.runtime._image_runner import ImageRunner
from kdl.deploy.runtime._outputs import class_rows, described
from kdl.deploy.runtime.classification import Classification


class ImageClassifier(ImageRunner):
    """A classifier in a `.tflite` file, used with images.

    The file tells by itself how an image becomes its input and what its classes are called, if it
    was exported with `input_spec` and `labels`. Needs `ai-edge-litert` and NumPy, and Pillow where
    images are read or resized: neither Keras nor TensorFlow.

    Args:
        path: The file, with one input; or a Keras model, which is used alike.
        threads: Number of threads that run a file. Defaults to 1.

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

    def __init__(self, path: Path | Any, threads: int = 1) -> None:
        super().__init__(path, threads)
        classes = self._runner.output_shapes[self._output][1]
        self._check_labels(classes)
        self.labels = self.info.labels or [str(index) for index in range(classes)]

    def __repr__(self):
        return f"<{self._describe()}, {counted(len(self.labels), 'class', 'classes')}>"

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
        [scores] = self._runner.predict(inputs, [self._output])
        classifications = [self._classifications(row, top) for row in scores]
        return classifications if several else classifications[0]

    def _classifications(self, scores, top):
        # In floats, since the negative of a byte, of -128 and of a truth value is none.
        order = np.argsort(-scores.astype("float64"), kind="stable")[:top]
        return [Classification(self.labels[i], int(i), float(scores[i])) for i in order]

    def _find_output(self):
        rows = class_rows(self._runner)
        if len(rows) == 1:
            return rows[0]
        raise ValueError(
            f"{self.path} is no classifier: expected one output (batch, two classes or more); it "
            f"has {described(self._runner)}. Use TFLiteRunner for its arrays."
        )
