"""Weight clustering by TF-MOT."""

from collections.abc import Sequence

import keras

from kdl._checks import check_choice, check_integer
from kdl.compression.tfmot.tfmot_model import TFMOTModel

_INITIALIZATIONS = {
    "kmeans++": "KMEANS_PLUS_PLUS",
    "linear": "LINEAR",
    "random": "RANDOM",
    "density": "DENSITY_BASED",
}


def cluster(
    model: keras.Model,
    clusters: int = 16,
    initialization: str = "kmeans++",
    layers: Sequence[str] | None = None,
    per_channel: bool = False,
    preserve_sparsity: bool = False,
) -> TFMOTModel:
    """Prepares a Keras 3 model for TensorFlow Model Optimization's clustering of weights.

    Each kernel takes no more than `clusters` distinct values, which `fit` trains, so that the file
    compresses. Kernels of convolutions, transposed ones and dense layers are clustered, of
    separable convolutions the pointwise kernel, depthwise kernels not, nor those of fewer weights
    than clusters or of frozen layers. `strip` gives the model.

    Args:
        model: A functional or Sequential model, built, in float32; its own weights are not touched.
        clusters: Number of values, at least 2. Defaults to 16.
        initialization: Where the values start: `"kmeans++"` (default), `"linear"`, `"random"` or
            `"density"`.
        layers: Names of the layers to cluster, as in `kdl.compression.flatten(model)`; all by
            default.
        per_channel: Whether each output channel of a convolution has values of its own.
        preserve_sparsity: Whether zeros, as `prune` made them, stay zero.

    Returns:
        `TFMOTModel`.

    Raises:
        ValueError: If an argument is out of range, the model is not functional or not float32, or
            something in it has no counterpart in tf_keras, or a layer of `layers` is frozen; the
            message names it.

    Source: Deep Compression (arXiv 1510.00149), section 3.

    Example:
        >>> import keras
        >>> inputs = keras.Input((4,))
        >>> cluster(keras.Model(inputs, keras.layers.Dense(2)(inputs)), 4).method
        'cluster'
    """
    clusters = check_integer("clusters", clusters, least=2)
    check_choice("initialization", initialization, tuple(_INITIALIZATIONS))
    settings = {
        "kind": "cluster",
        "clusters": clusters,
        "initialization": _INITIALIZATIONS[initialization],
        "per_channel": per_channel,
        "preserve_sparsity": preserve_sparsity,
    }
    return TFMOTModel(model, settings, layers)
