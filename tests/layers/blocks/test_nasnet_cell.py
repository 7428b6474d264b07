import keras
import numpy as np
import pytest

from kdl.layers.blocks.nasnet_cell import NASNET_A_NORMAL, NASNET_A_REDUCTION, NASNetCell
from kdl.ops import lowering_scope
from kdl.testing import run_layer_test

# What NASNet-A does not need: strided identity, projected pooling, unequal outputs.
ODD_REDUCTION = {
    "rows": [["identity", 0, "max3", 1], ["avg3", 1, "identity", 2]],
    "outputs": [0, 2, 3],
}
ODD_NORMAL = {"rows": [["identity", 1, "avg3", 0]], "outputs": [1, 2]}

SMALL = {"rows": [["sep3", 0, "avg3", 1], ["max3", 2, "identity", 1]], "outputs": [2, 3]}


@pytest.fixture(autouse=True)
def quickly_compiled():
    """JAX's compiler takes long for kernels of 25 and 49 taps written out."""
    with lowering_scope("native"):
        yield


class Definition:
    """NASNet-A's cells as the paper and the facts put them, in plain PyTorch; NCHW."""

    def __init__(self, cell):
        import torch
        from torch.nn import functional

        self.F, self.torch, self.cell = functional, torch, cell
        self.weights = {
            w.path.split(f"{cell.name}/", 1)[1]: torch.tensor(keras.ops.convert_to_numpy(w))
            for w in cell.weights
        }

    def __call__(self, inputs):
        h, p = (self.torch.tensor(x.transpose(0, 3, 1, 2)) for x in inputs)
        states = self.reduction(h, p) if self.cell.reduction else self.normal(h, p)
        return self.torch.cat(states, 1).numpy().transpose(0, 2, 3, 1)

    def normal(self, h, p):
        h, p = self.project(h, "squeeze"), self.adjust(p)
        return [
            p,
            self.sep(h, "left0", 5) + self.sep(p, "right0", 3),
            self.sep(p, "left1", 5) + self.sep(p, "right1", 3),
            self.pool(h, "avg") + p,
            2 * self.pool(p, "avg"),
            self.sep(h, "left4", 3) + h,
        ]

    def reduction(self, h, p):
        h, p = self.project(h, "squeeze"), self.adjust(p)
        first = self.sep(h, "left0", 5, 2) + self.sep(p, "right0", 7, 2)
        second = self.pool(h, "max", 2) + self.sep(p, "right1", 7, 2)
        third = self.pool(h, "avg", 2) + self.sep(p, "right2", 5, 2)
        fifth = self.sep(first, "left4", 3) + self.pool(h, "max", 2)
        return [second, third, second + self.pool(first, "avg"), fifth]

    def adjust(self, p):
        if self.cell.adjust == "none":
            return p
        if self.cell.adjust == "projection":
            return self.project(p, "adjust")
        p = self.F.relu(p)
        shifted = self.F.pad(p, (0, 1, 0, 1))[:, :, 1:, 1:]
        paths = [self.conv(p[:, :, ::2, ::2], "adjust/path1_conv")]
        paths.append(self.conv(shifted[:, :, ::2, ::2], "adjust/path2_conv"))
        return self.bn(self.torch.cat(paths, 1), "adjust/bn")

    def project(self, x, name):
        return self.bn(self.conv(self.F.relu(x), f"{name}_conv"), f"{name}_bn")

    def sep(self, x, name, k, stride=1):
        for i in (1, 2):
            x = self.same(self.F.relu(x), k, stride)
            kernel = self.weights[f"{name}_depthwise{i}/kernel"].permute(2, 3, 0, 1)
            x = self.F.conv2d(x, kernel, stride=stride, groups=len(kernel))
            x = self.bn(self.conv(x, f"{name}_pointwise{i}"), f"{name}_bn{i}")
            stride = 1
        return x

    def pool(self, x, kind, stride=1):
        lineage = self.cell.lineage if stride == 2 else "slim"
        if kind == "max":
            outside = 0.0 if lineage == "keras" else -float("inf")
            return self.F.max_pool2d(self.same(x, 3, stride, outside), 3, stride)
        total, count = (
            self.F.avg_pool2d(self.same(y, 3, stride), 3, stride)
            for y in (x, self.torch.ones_like(x))
        )
        return total / count if lineage == "slim" else total

    def same(self, x, k, stride, value=0.0):
        """TensorFlow's rule."""
        widths = []
        for n in (x.shape[3], x.shape[2]):
            total = max((-(-n // stride) - 1) * stride + k - n, 0)
            widths += [total // 2, total - total // 2]
        return self.F.pad(x, widths, value=value)

    def conv(self, x, name):
        return self.F.conv2d(x, self.weights[f"{name}/kernel"].permute(3, 2, 0, 1))

    def bn(self, x, name):
        keys = ("moving_mean", "moving_variance", "gamma", "beta")
        return self.F.batch_norm(x, *(self.weights[f"{name}/{key}"] for key in keys), eps=1e-3)


def shaken(cell, shapes, seed=0):
    """Builds the cell, and gives its batch norms statistics and offsets that can be seen."""
    cell.build(shapes)
    rng = np.random.default_rng(seed)
    for weight in cell.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) - (weight.name == "beta"))
    return [rng.standard_normal(shape).astype("float32") for shape in shapes]


@pytest.mark.parametrize(
    ("description", "reduction", "adjust", "lineage", "sizes"),
    [
        (NASNET_A_NORMAL, False, "projection", "slim", (5, 5)),
        (NASNET_A_NORMAL, False, "factorized", "keras", (3, 5)),
        (NASNET_A_REDUCTION, True, "none", "slim", (6, 6)),
        (NASNET_A_REDUCTION, True, "none", "slim", (5, 5)),
        (NASNET_A_REDUCTION, True, "factorized", "timm", (4, 7)),
        (NASNET_A_REDUCTION, True, "projection", "timm", (5, 5)),
        (NASNET_A_REDUCTION, True, "projection", "keras", (6, 6)),
        (NASNET_A_REDUCTION, True, "projection", "keras", (5, 5)),
    ],
)
def test_outputs_match_the_definition(description, reduction, adjust, lineage, sizes):
    cell = NASNetCell(4, description, reduction, adjust, lineage, data_format="channels_last")
    width = 4 if adjust == "none" else 3
    inputs = shaken(
        cell, [(2, sizes[0], 8, 5), (2, sizes[1], 8 if sizes[0] == sizes[1] else 15, width)]
    )
    outputs = keras.ops.convert_to_numpy(cell(inputs))
    np.testing.assert_allclose(outputs, Definition(cell)(inputs), atol=1e-4)


@pytest.mark.long_to_compile
@pytest.mark.parametrize("lineage", ["slim", "keras"])
def test_layer(lineage):
    arguments = {"description": SMALL, "reduction": True, "adjust": "factorized"}
    drop_path = {"drop_path_keep": 0.9, "cell": 1, "cells": 4}
    run_layer_test(
        NASNetCell,
        {"filters": 4, "lineage": lineage, **arguments, **drop_path},
        [(4, 4, 3, 5), (4, 8, 5, 3)],
        expected_output_shape=(4, 2, 2, 8),
    )


@pytest.mark.parametrize(
    ("description", "reduction", "adjust", "channels"),
    [(ODD_REDUCTION, True, "none", 12), (ODD_NORMAL, False, "none", 8)],
)
def test_other_descriptions_build(description, reduction, adjust, channels):
    run_layer_test(
        NASNetCell,
        {"filters": 4, "description": description, "reduction": reduction, "adjust": adjust},
        [(4, 5, 6, 2), (4, 5, 6, 3)],
        expected_output_shape=(4, 3, 3, channels) if reduction else (4, 5, 6, channels),
    )


def test_dynamic_sizes_build():
    cell = NASNetCell(4, NASNET_A_REDUCTION, True, data_format="channels_last")
    inputs = [keras.Input((None, None, 5)), keras.Input((None, None, 3))]
    model = keras.Model(inputs, cell(inputs))
    assert model.output_shape == (None, None, None, 16)
    x = [np.ones((1, 7, 5, c), "float32") for c in (5, 3)]
    assert tuple(model(x).shape) == (1, 4, 3, 16)


def test_drop_path_follows_every_operation_but_identity():
    cell = NASNetCell(4, drop_path_keep=0.5, data_format="channels_last")
    cell.build([(None, 4, 4, 4), (None, 4, 4, 4)])
    assert len([w for w in cell.weights if w.name == "drop_path_step"]) == 8
    inputs = [keras.Input((4, 4, 4))] * 2
    graph = keras.Model(inputs, cell.call(inputs))
    assert len([layer for layer in graph.layers if layer.name.endswith("drop_path")]) == 8


def test_padding_by_size_fixes_the_input_size():
    cell = NASNetCell(4, NASNET_A_REDUCTION, True, lineage="keras", data_format="channels_last")
    even, uneven = (np.zeros((1, n, n, 4), "float32") for n in (6, 5))
    cell([even, even])
    with pytest.raises(ValueError, match="incompatible with the layer"):
        cell([uneven, uneven])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be a positive integer"),
        ({"filters": 4, "adjust": "auto"}, "adjust must be one of"),
        ({"filters": 4, "lineage": "torch"}, "lineage must be one of 'slim', 'timm', 'keras'"),
        ({"filters": 4, "drop_path_keep": 0}, r"in \(0, 1\]"),
        ({"filters": 4, "cell": 3, "cells": 3}, "cell must be an integer from 0 to 2; received 3"),
        ({"filters": 4, "description": []}, 'dict of "rows" and "outputs"'),
        (
            {"filters": 4, "description": {"rows": [["sep3", 0, "sep3"]], "outputs": [2]}},
            "Row 0 must be",
        ),
        (
            {"filters": 4, "description": {"rows": [["sep9", 0, "sep3", 1]], "outputs": [2]}},
            "operation of row 0 must be one of 'sep3'",
        ),
        (
            {"filters": 4, "description": {"rows": [["sep3", 2, "sep3", 1]], "outputs": [2]}},
            "state of row 0 must be an integer from 0 to 1",
        ),
        (
            {"filters": 4, "description": {"rows": [["sep3", 0, "sep3", 1]], "outputs": [3]}},
            "output must be an integer from 0 to 2",
        ),
        (
            {"filters": 4, "description": {"rows": [], "outputs": []}},
            "different states, one or more",
        ),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        NASNetCell(**arguments)


def test_bad_inputs_raise():
    cell = NASNetCell(4, data_format="channels_last")
    h, p = np.zeros((1, 4, 4, 3), "float32"), np.zeros((1, 8, 8, 3), "float32")
    with pytest.raises(ValueError, match=r"p must have the size of h.*\(8, 8\) where h has \(4, 4"):
        cell([h, p])
    keras_cell = NASNetCell(
        4, NASNET_A_REDUCTION, True, lineage="keras", data_format="channels_last"
    )
    x = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="pads by the size of the image"):
        keras_cell([x, x])
