"""Identity initializer of the dilated context module."""

from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._typing import DType, Tensor


@keras.saving.register_keras_serializable("kdl")
class ContextIdentity(keras.initializers.Initializer):
    """Kernel that passes features on: the identity, also between widths that are multiples.

    For `C` features carried by `m` channels in and `n` out, the center tap from channel `a` to `b`
    is `C / n` where `⌊a · C / m⌋ = ⌊b · C / n⌋`; everything else is drawn from `N(0, stddev²)`.

    Args:
        features: Number of features, `C`.
        stddev: Deviation of the rest. Defaults to 0.
        seed: Integer, or None for another one each time.

    Source: dilated convolutions (arXiv 1511.07122), equations 4 and 5.

    Example:
        >>> kernel = ContextIdentity(2)((1, 1, 2, 4))
        >>> [[float(v) for v in row] for row in kernel[0, 0]]
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """

    def __init__(
        self,
        features: int,
        stddev: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.features = features
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: tuple[int, int, int, int], dtype: DType = None) -> Tensor:
        """The kernel, of Keras's shape `(height, width, m, n)`."""
        rows, columns, inputs, outputs = shape
        kernel = np.random.default_rng(self.seed).normal(0.0, self.stddev, shape)
        carried = np.arange(inputs) * self.features // inputs
        required = np.arange(outputs) * self.features // outputs
        center = kernel[rows // 2, columns // 2]
        same = carried[:, None] == required[None, :]
        center[same] = self.features / outputs
        return ops.convert_to_tensor(kernel, dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"features": self.features, "stddev": self.stddev, "seed": self.seed}
