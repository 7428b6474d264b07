"""Calibration: ranges of activations, observed on data."""

import functools

import keras
import numpy as np
from keras import ops

from kdl.graph.kinds import is_float
from kdl.graph.read_graph import read_graph
from kdl.layers import FakeQuantize
from kdl.layers.quantization.fake_quantize import ranges_observed_by


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
    sites = _sites(model)
    if not sites:
        return
    _check_shapes(model, data)
    seen = _Probe(model, sites).predict(data, batch_size=batch_size, verbose=verbose)
    names = [*((layer.name, site) for layer, site in sites), ("the outputs", 0)]
    if not np.isfinite(seen).all():
        raise ValueError(_not_finite(seen, names))
    low = np.minimum(seen[:, 0::2].min(axis=0), 0.0)
    high = np.maximum(seen[:, 1::2].max(axis=0), 0.0)
    for layer in dict.fromkeys(layer for layer, _ in sites):
        own = [names.index((layer.name, site)) for site in range(layer.sites)]
        # Of zeros alone, as behind a dead ReLU, any range holds them; LiteRT takes no narrow one.
        dead = not (low[own].any() or high[own].any())
        layer.low.assign(low[own])
        layer.high.assign(np.ones_like(high[own]) if dead else high[own])


def _sites(model):
    """Dict: (observing layer, site) → whether its input has the samples along its first axis."""
    graph = read_graph(model)
    batch = keras.tree.flatten(graph.inputs)[0].shape[:1]
    return {
        (node.operation, node.kwargs.get("site", 0)): node.inputs[0].shape[:1] == batch
        for node in graph.nodes
        if isinstance(node.operation, FakeQuantize) and node.operation.fixed_range is None
    }


class _Probe(keras.Model):
    """Gives smallest and largest value of each site and of all outputs, a row a sample.

    Args:
        model: The model whose `FakeQuantize` layers are asked; it is called as it is.
        sites: What `_sites` gives.
    """

    def __init__(self, model, sites):
        # The model casts its inputs itself.
        super().__init__(name="probe", dtype="float32", autocast=False)
        self.model = model
        self._sites = [(id(layer), site, by_sample) for (layer, site), by_sample in sites.items()]

    def call(self, inputs):
        """The extremes of a batch."""
        seen = {}

        def observe(layer, site, x):
            seen[id(layer), site] = x

        with ranges_observed_by(observe):
            outputs = self.model(inputs, training=False)
        first = keras.tree.flatten(inputs)[0]
        columns = [
            _of_a_sample(reduce, seen[layer, site], by_sample, first)
            for layer, site, by_sample in self._sites
            for reduce in (ops.min, ops.max)
        ]
        ends = [x for x in keras.tree.flatten(outputs) if is_float(x)]
        for reduce, join in ((ops.min, ops.minimum), (ops.max, ops.maximum)):
            extremes = [_of_a_sample(reduce, x, True, first) for x in ends]
            columns.append(functools.reduce(join, extremes, ops.zeros_like(columns[0])))
        return ops.stack(columns, axis=-1)


def _of_a_sample(reduce, x, by_sample, first):
    """The extreme of each sample; that of the batch for each, where no axis holds the samples."""
    if by_sample:
        # A reshape may have joined the samples with another axis, as windows of images do.
        rows = ops.reshape(x, (ops.shape(first)[0], -1))
        return ops.cast(reduce(rows, axis=1), "float32")
    zeros = ops.zeros_like(ops.cast(_along_samples(ops.max, first), "float32"))
    return ops.cast(reduce(x), "float32") + zeros


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
