"""Semantic segmentation with a `.tflite` file, without Keras and TensorFlow."""

import io
from typing import Any

import numpy as np

from kdl._typing import Path
from kdl._words import counted
from kdl.data._decoding import image_size
from kdl.deploy.runtime._image_runner import ImageRunner
from kdl.deploy.runtime._label_maps import resized_argmax, resized_labels
from kdl.deploy.runtime._outputs import class_count, class_maps, described, is_label_map
from kdl.deploy.runtime.segmentation import Segmentation


class ImageSegmenter(ImageRunner):
    """A semantic segmentation network in a `.tflite` file, used with images.

    The file has an output of scores, logits or probabilities, `(batch, height, width, classes)`,
    or of label maps, integers `(batch, height, width)`. Of one score a pixel, class 1 is where it
    is above 0.5, if all are from 0 to 1, or else above 0. Of several outputs, that called `main`,
    `probabilities` or `logits` is read.

    The file tells by itself how an image becomes its input and what its classes are called, if it
    was exported with `input_spec` and `labels`. Needs `ai-edge-litert` and NumPy, and Pillow where
    images are read or resized: neither Keras nor TensorFlow.

    Args:
        path: The file, with one input; or a Keras model, which is used alike.
        threads: Number of threads that run a file. Defaults to 1.

    Attributes:
        info: The `kdl.data.ModelInfo` found in the file.
        labels: Names of the classes; their numbers as text if the file has no names; empty if
            it gives label maps and does not tell how many classes there are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or no segmenter, or its labels or input do not fit it.
        ImportError: If `ai-edge-litert` is missing.

    Example:
        >>> import keras, kdl, numpy as np
        >>> inputs = keras.Input((32, 32, 3))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
        >>> kdl.data.set_model_info(model, kdl.data.ModelInfo(None, kdl.data.InputSpec((32, 32))))
        >>> segmenter = ImageSegmenter(model)
        >>> segmenter.predict(np.zeros((40, 60, 3), "uint8")).label_map.shape
        (40, 60)
    """

    def __init__(self, path: Path | Any, threads: int = 1) -> None:
        super().__init__(path, threads)
        if is_label_map(self._runner, self._output):
            self.labels = self.info.labels or []
            return
        classes = class_count(self._runner, self._output)
        self._check_labels(classes)
        self.labels = self.info.labels or [str(index) for index in range(classes)]

    def __repr__(self):
        classes = counted(len(self.labels), "class", "classes") if self.labels else "label maps"
        return f"<{self._describe()}, {classes}>"

    def predict(self, images: Any) -> Segmentation | list[Segmentation]:
        """The classes of the pixels of one image, or of each of several, in the image's own size.

        An image is the name of a file, an open file, a Pillow image, or a uint8 array
        `(height, width)` or `(height, width, channels)` in RGB of any size; it is resized and
        normalized as the file's input specification says. A float array is taken for a finished
        input, of the file's input shape, and its size for that of the image.

        Scores are resized to the image bilinearly, and the largest is taken at each pixel; of
        label maps, each pixel takes the nearest label.

        Args:
            images: One image, or several: a list or tuple, or an array with the samples first.

        Returns:
            `Segmentation` for one image; a list of them for several.

        Raises:
            FileNotFoundError: If there is no such image.
            ValueError: If an image cannot be read or does not fit, or the file does not say how an
                image becomes its input.
            ImportError: If Pillow is needed and missing.
        """
        several = self._is_several(images)
        images = list(images) if several else [images]
        batch = self._runner.input_shape[0] or 1
        found = []
        # Batch by batch: the scores of many images would not fit into memory.
        for start in range(0, len(images), batch):
            found += self._segmentations(images[start : start + batch])
        return found if several else found[0]

    def _segmentations(self, images):
        images = [_readable_twice(image) for image in images]
        inputs = [self._input(image) for image in images]
        [outputs] = self._runner.predict(np.stack(inputs), [self._output])
        sizes = [
            x.shape[:2] if _is_finished(image) else image_size(image)
            for x, image in zip(inputs, images, strict=True)
        ]
        pairs = zip(outputs, sizes, strict=True)
        return [Segmentation(self._label_map(*pair), self.labels) for pair in pairs]

    def _label_map(self, output, size):
        if is_label_map(self._runner, self._output):
            return resized_labels(output.reshape(output.shape[:2]), size)
        return resized_argmax(_two_classes(output) if output.shape[-1] == 1 else output, size)

    def _find_output(self):
        maps = class_maps(self._runner, self.info.labels)
        if len(maps) == 1:
            return maps[0]
        raise ValueError(
            f"{self.path} is no segmenter: expected one output of scores (batch, height, width, "
            f"classes) or label maps (batch, height, width) of integers; it has "
            f"{described(self._runner)}. Use TFLiteRunner for its arrays."
        )


def _is_finished(image):
    return isinstance(image, np.ndarray) and image.dtype != np.uint8


def _readable_twice(image):
    """The image, held in memory if it is a pipe: its size is asked for beside its pixels."""
    is_pipe = hasattr(image, "read") and not (hasattr(image, "seekable") and image.seekable())
    return io.BytesIO(image.read()) if is_pipe else image


def _two_classes(score):
    """Scores of both classes from one: the threshold, and what must be above it."""
    is_probability = score.min() >= 0 and score.max() <= 1
    return np.concatenate([np.full_like(score, 0.5 if is_probability else 0), score], -1)
