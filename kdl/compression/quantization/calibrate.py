"""Post-training quantization."""

from typing import Any

import keras

from kdl.compression.quantization.quantization_report import QuantizationReport
from kdl.compression.quantization.quantize_aware import quantize_aware
from kdl.compression.quantization.round_biases import round_biases
from kdl.layers import FakeQuantize


def calibrate(
    model: keras.Model,
    data: Any,
    weight_bits: int = 8,
    activation_bits: int = 8,
    batch_size: int = 32,
    verbose: int | str = "auto",
) -> tuple[keras.Model, QuantizationReport]:
    """Post-training quantization: a model that computes as its int8 file does, from data alone.

    The graph is that of `quantize_aware`, with batch norms folded. Ranges are the extremes that the
    activations reach on `data`, and stay so. Train the result further, and only the weights move.
    Biases are rounded once, by `round_biases`.

    Args:
        model: A functional or Sequential model, built; its own weights are not touched.
        data: Inputs as in use, some hundred: what `model.predict` takes, or what
            `kdl.data.read_samples` does. Labels are not used.
        weight_bits: Integer from 2 to 8. Defaults to 8.
        activation_bits: Integer from 2 to 8. Defaults to 8.
        batch_size: Of the observation. Defaults to 32.
        verbose: 0, 1, 2 or `"auto"`, as in `predict`.

    Returns:
        Pair of a `keras.Model`, not compiled, and a `QuantizationReport`.

    Raises:
        ValueError: As `quantize_aware`.

    Source: Krishnamoorthi (arXiv 1806.08342), section 3.1.

    Example:
        >>> import keras, numpy as np
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid")(inputs))
        >>> data = np.random.default_rng(0).random((16, 4), "float32")
        >>> quantized, report = calibrate(model, data, verbose=0)
        >>> report.complete
        True
    """
    quantized, report = quantize_aware(
        model, data, weight_bits, activation_bits, batch_size=batch_size, verbose=verbose
    )
    for layer in quantized.layers:
        if isinstance(layer, FakeQuantize):
            layer.trainable = False
    round_biases(quantized)
    return quantized, report
