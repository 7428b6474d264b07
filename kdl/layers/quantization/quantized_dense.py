"""Dense layer with weights as a file of few bits will hold them."""

from typing import Any

import keras
from keras import ops

from kdl._deprecation import renamed_attribute
from kdl._typing import Tensor
from kdl.ops.quantization import check_bits, fake_quantize_weights, weight_scales


@keras.saving.register_keras_serializable("kdl")
class QuantizedDense(keras.layers.Dense):
    """Dense layer whose kernel is rounded, at one scale.

    `y = x · q(w) + b` with `q = kdl.ops.fake_quantize_weights(axis=None)`; the gradient passes the
    rounding as if it were not there. The weights are those of `keras.layers.Dense`, in full
    precision. A scale for each unit is what neither the converter to TFLite takes nor every device.

    Shapes: `(…, C)` → `(…, units)`.

    Args:
        units: Size of the output.
        weight_bits: Integer from 2 to 8. Defaults to 8.
        **kwargs: All other arguments of `keras.layers.Dense`.

    Raises:
        ValueError: If `weight_bits` is out of range.

    Source: Jacob et al. (arXiv 1712.05877), section 3.

    Example:
        >>> import numpy as np
        >>> tuple(QuantizedDense(5)(np.zeros((2, 3), "float32")).shape)
        (2, 5)
    """

    def __init__(self, units: int, weight_bits: int = 8, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.weight_bits = check_bits("weight_bits", weight_bits, most=8)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Multiplies `inputs` with the rounded kernel."""
        kernel = fake_quantize_weights(self.kernel, self.weight_bits, axis=None)
        outputs = ops.matmul(inputs, kernel)
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    @property
    def weight_scales(self) -> Tensor:
        """Scale of the quantized kernel, as `kdl.ops.weight_scales` gives it."""
        return weight_scales(self.kernel, self.weight_bits, axis=None)

    weight_steps = renamed_attribute("weight_steps", "weight_scales")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight_bits": self.weight_bits}
