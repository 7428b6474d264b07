"""Label maps predicted by a network."""

import keras
import numpy as np

from kdl._checks import check_integer


def predict_labels(model: keras.Model, images: np.ndarray, batch_size: int = 8) -> np.ndarray:
    """Predicts the most likely class of each pixel.

    Args:
        model: A model with one output of scores `(batch, height, width, classes)`, such as
            `kdl.segmentation.SPNet(…).inference_model()`.
        images: `(samples, height, width, channels)`.
        batch_size: Defaults to 8.

    Returns:
        Integers `(samples, height, width)`. Scores are given up batch by batch, so that they need
        not fit into memory.

    Raises:
        ValueError: If the model's output is of another shape, or `batch_size` is out of range.

    Example:
        >>> import keras
        >>> inputs = keras.Input((4, 4, 1))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs))
        >>> predict_labels(model, np.zeros((5, 4, 4, 1), "float32")).shape
        (5, 4, 4)
    """
    batch_size = check_integer("batch_size", batch_size)
    parts = []
    for start in range(0, len(images), batch_size):
        scores = model.predict_on_batch(images[start : start + batch_size])
        if np.ndim(scores) != 4:
            raise ValueError(
                f"Expected a model with one output (batch, height, width, classes); received "
                f"{_shape(scores)}. Of a network with auxiliary heads take its inference_model()."
            )
        parts.append(scores.argmax(-1))
    return np.concatenate(parts)


def _shape(scores):
    if isinstance(scores, dict | list | tuple):
        return f"{len(scores)} outputs"
    return f"one of shape {np.shape(scores)}"
