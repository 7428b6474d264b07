"""Quantization-aware training by TF-MOT."""

import keras

from kdl._checks import check_choice
from kdl.compression.tfmot.tfmot_model import TFMOTModel

_PRESERVE = (None, "sparsity", "clusters", "both")


def quantize(model: keras.Model, preserve: str | None = None) -> TFMOTModel:
    """Prepares a Keras 3 model for TensorFlow Model Optimization's quantization-aware training.

    TF-MOT's default 8-bit scheme: weights of convolutions quantized per output channel, all others
    per tensor, activations per tensor. Nested models and composite layers are inlined; SE's
    product, hard-sigmoid, slices, splits, transposes, averages, PReLU, rescaling and batch norms
    without a convolution before them, which TF-MOT does not support, get a quantize config. The
    ranges of activations start from what the float model gives on the first 512 inputs of `fit`,
    and move by a thousandth a step, as TF-MOT has it.

    `fit` trains; `strip` then gives the trained float weights, batch norms as they are, and
    `kdl.deploy.export_tflite(wrapped, path, "int8")` the file. `kdl.compression.quantize_aware`
    needs no TensorFlow process, knows more layers and is usually closer to its file.

    Args:
        model: A functional or Sequential model, built, in float32; its own weights are not touched.
        preserve: What an earlier `prune` or `cluster` made and training must keep: None (default),
            `"sparsity"`, `"clusters"` or `"both"`.

    Returns:
        `TFMOTModel`.

    Raises:
        ValueError: If the model is not functional or not float32, or something in it has no int8
            form there; the message names it.

    Example:
        >>> import keras
        >>> inputs = keras.Input((4,))
        >>> wrapped = quantize(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
        >>> wrapped.method
        'quantize'
    """
    check_choice("preserve", preserve, _PRESERVE)
    return TFMOTModel(model, {"kind": "quantize", "preserve": preserve})
