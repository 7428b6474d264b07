"""Statistics of norms, exact over some batches."""

import contextlib

import keras
import numpy as np
from keras import ops

from kdl._compat import all_layers
from kdl.layers import MovingAverageBatchNormalization, ScheduledDropPath, SwitchableNormalization

_NORMS = (
    keras.layers.BatchNormalization,
    SwitchableNormalization,
    MovingAverageBatchNormalization,
)

_NEVER = 2**31 - 1

# Class → the attribute that makes it random, and the value with which it does nothing.
_RANDOM = {
    keras.layers.Dropout: ("rate", 0.0),
    keras.layers.GaussianDropout: ("rate", 0.0),
    keras.layers.AlphaDropout: ("rate", 0.0),
    keras.layers.GaussianNoise: ("stddev", 0.0),
    ScheduledDropPath: ("final_keep_probability", 1.0),
}


def recalibrate(model, data, batch_size=32, steps=None, verbose="auto"):
    """Replaces the moving averages of a model's norms by exact averages over batches.

    The model runs as in training, with its weights as they are and without dropout. Batch norms
    get `μ = Σ n μ_b / Σ n` and `σ² = Σ n (σ_b² + μ_b²) / Σ n − μ²` over batches `b` of `n` samples;
    so do the batch statistics of `SwitchableNormalization` (the paper's batch average).
    `MovingAverageBatchNormalization` gets the average of its mean squares. Needed where weights
    changed and the averages did not follow: after weights were averaged or chosen from a supernet,
    before quantisation, or after training in tiny batches.

    A norm that the model calls several times in a batch gets the statistics of the last call; one
    that is frozen (`trainable=False`) is left as it is.

    Args:
        model: A built model; it is changed in place.
        data: What `model.predict` takes: an array, or a dataset of batches, with or without labels.
            Some dozens of batches do, of the size that training had.
        batch_size: Where `data` is an array. Defaults to 32.
        steps: Number of batches to take from an endless dataset. Defaults to all.
        verbose: 0, 1, 2 or `"auto"`, as in `predict`.

    Raises:
        ValueError: If the model has no norm with moving averages, `data` is empty, or statistics
            are not finite; the model is left as it was.

    Source: Switchable Normalization (arXiv 1806.10779), section 2; Averaging Weights Leads to Wider
    Optima (arXiv 1803.05407), section 3.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.BatchNormalization()])
        >>> recalibrate(model, np.float32([[1], [3], [5], [7]]), batch_size=2, verbose=0)
        >>> norm = model.layers[-1]
        >>> float(norm.moving_mean[0]), float(norm.moving_variance[0])
        (4.0, 5.0)
    """
    layers = all_layers(model)
    norms = [layer for layer in layers if _has_averages(layer)]
    if not norms:
        raise ValueError(
            "The model has no trainable norm that keeps averages of batches: there is nothing to "
            "recalibrate."
        )
    before = [ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    try:
        for variable in (v for norm in norms for v in _averages(norm)):
            variable.assign(np.zeros(variable.shape))  # what is infinite would stay
        with _as_observed(layers, norms):
            probe = _Probe(model, norms)
            seen = probe.predict(data, batch_size=batch_size, steps=steps, verbose=verbose)
    finally:
        for variable, value in zip(model.non_trainable_variables, before, strict=True):
            variable.assign(value)
    _check(seen, norms)
    _assign(norms, seen)


class _Probe(keras.Model):
    """Gives a row for each batch: its size, then the statistics that each norm saw."""

    def __init__(self, model, norms):
        super().__init__(name="probe")
        self.model = model
        self.variables_seen = [variable for norm in norms for variable in _averages(norm)]

    def call(self, inputs):
        self.model(inputs, training=True)
        first = keras.tree.flatten(inputs)[0]
        size = ops.cast(ops.shape(first)[0], "float32")
        seen = [ops.cast(ops.reshape(v, (-1,)), "float32") for v in self.variables_seen]
        return ops.concatenate([ops.reshape(size, (1,)), *seen])[None]


def _has_averages(layer):
    if not isinstance(layer, _NORMS) or not layer.trainable:
        return False
    return getattr(layer, "use_batch_norm", True)


def _averages(norm):
    if isinstance(norm, MovingAverageBatchNormalization):
        return [norm.moving_variance]
    return [norm.moving_mean, norm.moving_variance]


@contextlib.contextmanager
def _as_observed(layers, norms):
    """Within it averages hold the last batch alone, and nothing is random."""
    settings = [(norm, "momentum", 0.0) for norm in norms]
    for norm in norms:
        if isinstance(norm, MovingAverageBatchNormalization):
            settings.append((norm, "warmup_steps", _NEVER))
    for layer in layers:
        settings += [(layer, *off) for kind, off in _RANDOM.items() if isinstance(layer, kind)]
    kept = [(layer, name, getattr(layer, name)) for layer, name, _ in settings]
    try:
        for layer, name, value in settings:
            setattr(layer, name, value)
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)


def _check(seen, norms):
    if not len(seen) or not seen[:, 0].sum():
        raise ValueError("data is empty: give some batches to recalibrate on.")
    for norm, columns in _columns(norms):
        if not np.isfinite(seen[:, np.concatenate(columns)]).all():
            raise ValueError(
                f"The statistics of {norm.name} are not finite. Are the data and the weights?"
            )


def _columns(norms):
    """For each norm, the columns of each of its averages in the probe's rows."""
    start = 1  # after the size of the batch
    for norm in norms:
        columns = []
        for variable in _averages(norm):
            columns.append(np.arange(start, start + variable.shape[0]))
            start += variable.shape[0]
        yield norm, columns


def _assign(norms, seen):
    seen = seen.astype("float64")
    weights = seen[:, 0] / seen[:, 0].sum()
    for norm, columns in _columns(norms):
        *means, variances = (seen[:, c] for c in columns)
        if not means:
            norm.moving_variance.assign(weights @ variances)
            continue
        mean = weights @ means[0]
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(weights @ (variances + means[0] ** 2) - mean**2)
