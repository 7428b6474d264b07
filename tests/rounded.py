"""What the layers with rounded kernels must give, in plain NumPy and Keras's own layers."""

import keras
import numpy as np

from kdl.testing import run_layer_test


def check_rounded_kernel(cls, keras_class, arguments, input_shape, axis):
    """Runs all layer checks against Keras's layer with a kernel that NumPy rounded.

    Args:
        cls: The layer.
        keras_class: Keras's layer of the same weights.
        arguments: Constructor arguments of `cls`.
        input_shape: Shape of the input.
        axis: Axes of the kernel over which a scale is shared; None: all.
    """

    def reference(layer, x):
        config = layer.get_config()
        for own in ("weight_bits", "lowering"):
            config.pop(own, None)
        counterpart = keras_class.from_config(config)
        counterpart.build(x.shape)
        kernel, *bias = layer.get_weights()
        largest = np.abs(kernel).max(axis=axis, keepdims=True)
        scale = largest / (2 ** (layer.weight_bits - 1) - 1)
        counterpart.set_weights([np.round(kernel / scale) * scale, *bias])
        return keras.ops.convert_to_numpy(counterpart(x))

    run_layer_test(
        cls,
        {**arguments, "bias_initializer": "random_normal"},
        input_shape,
        reference=reference,
        mixed_precision=False,  # another rounding of a weight may be another integer
        atol=1e-4,
    )
