"""Ranges of activations, observed on data without training."""

import keras
import numpy as np
from keras import ops

from kdl.graph import copy_model
from kdl.graph.read_graph import make_model, read_graph, rebuild
from kdl.layers import FakeQuantize


def observe_ranges(model, data, batch_size=32, verbose="auto"):
    """Sets the ranges of a model's `FakeQuantize` layers to the extremes of its activations.

    Weights are rounded meanwhile, activations are not.

    Args:
        model: A functional model with `FakeQuantize` layers.
        data: Inputs, as `model.predict` takes them.
        batch_size: Where `data` is an array.
        verbose: As in `predict`.

    Raises:
        ValueError: If `data` does not fit the model, or an activation is not finite.
    """
    probe, sites = _probe(model)
    if not sites:
        return
    _check_shapes(model, data)
    seen = probe.predict(data, batch_size=batch_size, verbose=verbose)
    if not np.isfinite(seen).all():
        raise ValueError(_not_finite(seen, sites))
    low = np.minimum(seen[:, 0::2].min(axis=0), 0.0)
    high = np.maximum(seen[:, 1::2].max(axis=0), 0.0)
    for layer in model.layers:
        if isinstance(layer, FakeQuantize) and layer.fixed_range is None:
            mine = [sites.index((layer.name, site)) for site in range(layer.sites)]
            layer.low.assign(low[mine])
            layer.high.assign(high[mine])


def _probe(model):
    """A model that gives smallest and largest value of each site, a row a sample."""
    sites, extremes = [], []

    def apply(node, args, kwargs):
        layer = node.operation
        if not isinstance(layer, FakeQuantize):
            return layer(*args, **kwargs)
        if layer.fixed_range is None:
            sites.append((layer.name, kwargs.get("site", 0)))
            extremes.extend([(ops.min, args[0]), (ops.max, args[0])])
        return args[0]

    graph = read_graph(copy_model(model))
    inputs = rebuild(graph, apply).input
    if not sites:
        return None, sites
    first = keras.tree.flatten(inputs)[0]
    seen = [_of_a_sample(reduce, x, first) for reduce, x in extremes]
    return make_model(inputs, ops.stack(seen, axis=-1)), sites


def _of_a_sample(reduce, x, first):
    """The extreme of each sample; that of the batch for each, where no axis holds the samples."""
    if x.shape[:1] != first.shape[:1]:
        zeros = ops.zeros_like(ops.cast(_along_samples(ops.max, first), "float32"))
        return ops.cast(reduce(x), "float32") + zeros
    return ops.cast(_along_samples(reduce, x), "float32")


def _along_samples(reduce, x):
    axes = tuple(range(1, len(x.shape)))
    return reduce(x, axis=axes) if axes else x


def _check_shapes(model, data):
    if data is None or isinstance(data, str):
        raise ValueError(
            f"data must be some hundred inputs as model.predict takes them: an array or a dataset; "
            f"received {data!r}."
        )
    arrays = keras.tree.flatten(data)
    if not all(hasattr(x, "shape") for x in arrays):
        return  # a dataset, which predict will check
    if len(arrays) != len(model.inputs):
        raise ValueError(
            f"The model takes {len(model.inputs)} inputs; data holds {len(arrays)} arrays. Give "
            f"inputs only, without labels."
        )
    for x, expected in zip(arrays, model.inputs, strict=True):
        shape, known = tuple(x.shape), tuple(expected.shape)
        fits = len(shape) == len(known) and all(
            b in (None, a) for a, b in zip(shape[1:], known[1:], strict=True)
        )
        if not fits or not shape[0]:
            raise ValueError(
                f"data must have shape (samples, {', '.join(map(str, known[1:]))}), with at least "
                f"one sample; received {shape}."
            )


def _not_finite(seen, sites):
    first = int(np.argmin(np.isfinite(seen).all(axis=0))) // 2
    sample = int(np.argmin(np.isfinite(seen).all(axis=1)))
    if sites[first] == sites[0]:
        return f"data holds values that are not finite (NaN or infinite), first in sample {sample}."
    return (
        f"Activations are not finite, first at {sites[first][0]} for sample {sample}: no range "
        f"holds them. Are the model's weights finite?"
    )
