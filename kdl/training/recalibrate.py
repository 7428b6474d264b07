"""Recalibration of batch-norm statistics (precise batch norm)."""

import contextlib
import functools
import itertools
import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._compat import all_layers
from kdl.data.reading import inputs_for_predict
from kdl.layers import MovingAverageBatchNormalization, ScheduledDropPath, SwitchableNormalization

NORMS = (
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

# The same of recurrent cells, Keras's, kdl's and others', which share no public class.
_RATES_OF_CELLS = ("dropout", "recurrent_dropout")

# Classes that have no such attribute: they change images by chance, or weights in each batch.
_INFERRING = (
    keras.layers.SpectralNormalization,
    *(getattr(keras.layers, name) for name in dir(keras.layers) if name.startswith("Random")),
    *(getattr(keras.layers, name) for name in ("AugMix", "CutMix", "MixUp", "RandAugment")),
)


def recalibrate(
    model: keras.Model,
    data: Any,
    batch_size: int = 32,
    steps: int | None = None,
    verbose: int | str = "auto",
) -> None:
    """Replaces the moving averages of a model's norms by exact averages over batches.

    The model runs as in training, with its weights as they are and without chance: Keras's
    dropout and noise, that of recurrent cells, drop path and random preprocessing layers do what
    they do in inference, and `SpectralNormalization` leaves its weights. Layers of your own that
    draw numbers draw.

    Batch norms get `μ = Σ n μ_b / Σ n` and `σ² = Σ n (σ_b² + μ_b²) / Σ n − μ²` over batches `b` of
    `n` samples; so do the batch statistics of `SwitchableNormalization` (the paper's batch
    average). `MovingAverageBatchNormalization` gets the average of its mean squares. Needed
    where weights changed and the averages did not follow: after weights were averaged or chosen
    from a supernet, before quantization, or after training in tiny batches.

    A norm that the model calls several times in a batch gets the statistics of the last call; one
    that is frozen (`trainable=False`), or that a layer calls in inference or not at all, is left.

    Args:
        model: A built model; it is changed in place.
        data: What `model.predict` takes, or what `kdl.data.read_samples` does: an array, or a data
            set of batches, with or without labels. Some dozens of batches do, of the size that
            training had.
        batch_size: Where `data` is an array, a list or a generator. Defaults to 32.
        steps: Number of batches to take from an endless dataset or generator. Defaults to all.
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
    start = [0.0]  # as a row of the probe's
    try:
        for variable in (v for norm in norms for v in _averages(norm)):
            value = ops.convert_to_numpy(variable).astype("float32")
            value = np.where(np.isfinite(value), value, 0)  # what is infinite would stay
            variable.assign(value)
            start.extend(value)
        with _as_observed(layers, norms), _inferring(layers):
            probe = _Probe(model, norms)
            if steps is not None and hasattr(data, "__next__"):
                data, steps = itertools.islice(data, steps), None
            if steps is None:
                data = inputs_for_predict(data, model)
            seen = probe.predict(data, batch_size=batch_size, steps=steps, verbose=verbose)
    finally:
        for variable, value in zip(model.non_trainable_variables, before, strict=True):
            variable.assign(value)
    _check(seen, norms)
    _assign(norms, seen, np.float32(start))


class _Probe(keras.Model):
    """Gives a row for each batch: its size, then the statistics that each norm saw."""

    def __init__(self, model, norms):
        # The model casts its inputs itself.
        super().__init__(name="probe", dtype="float32", autocast=False)
        self.model = model
        self.variables_seen = [variable for norm in norms for variable in _averages(norm)]

    def call(self, inputs):
        self.model(inputs, training=True)
        first = keras.tree.flatten(inputs)[0]
        size = ops.cast(ops.shape(first)[0], "float32")
        seen = [ops.cast(ops.reshape(v, (-1,)), "float32") for v in self.variables_seen]
        return ops.concatenate([ops.reshape(size, (1,)), *seen])[None]


def _has_averages(layer):
    if not isinstance(layer, NORMS) or not layer.trainable or not layer.built:
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
        settings += [(layer, n, 0.0) for n in _RATES_OF_CELLS if _is_rate(vars(layer).get(n))]
    before = [(layer, name, getattr(layer, name)) for layer, name, _ in settings]
    try:
        for layer, name, value in settings:
            setattr(layer, name, value)
        yield
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


def _is_rate(value):
    """True if an attribute is a number, and no layer of that name."""
    return isinstance(value, numbers.Real)


@contextlib.contextmanager
def _inferring(layers):
    """Within it some layers do what they do in inference."""
    changed = [layer for layer in layers if isinstance(layer, _INFERRING)]
    for layer in changed:
        layer.call = _without_training(layer.call)
    try:
        yield
    finally:
        for layer in changed:
            del layer.call


def _without_training(call):
    @functools.wraps(call)
    def inferring(*args, training=None, **kwargs):
        return call(*args, training=False, **kwargs)

    return inferring


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


def _assign(norms, seen, start):
    unmoved = (seen == start).all(axis=0)
    seen = seen.astype("float64")
    weights = seen[:, 0] / seen[:, 0].sum()
    for norm, columns in _columns(norms):
        if unmoved[np.concatenate(columns)].all():
            continue  # it ran as in inference, or not at all
        *means, variances = (seen[:, c] for c in columns)
        if not means:
            norm.moving_variance.assign(weights @ variances)
            continue
        mean = weights @ means[0]
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(weights @ (variances + means[0] ** 2) - mean**2)
