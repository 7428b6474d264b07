"""What the tables call quantised, the converter writes in integers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kdl.compression import quantize_aware
from kdl.compression._rules import FIXED_RANGE, OWN_RANGE, SAME_RANGE

# Class of the operation → a graph with it, after a tensor of (1, 6, 6, 4).
GRAPHS = {
    "Add": lambda x: ops.add(x, ops.swapaxes(x, 1, 2)),
    "AveragePool": lambda x: ops.average_pool(x, 2),
    "AveragePooling2D": layers.AveragePooling2D(2),
    "BatchNormalization": lambda x: layers.BatchNormalization()(layers.Conv2D(3, 1)(x)),
    "Concatenate": lambda x: ops.concatenate([x, ops.relu6(x)], axis=-1),
    "Conv2D": layers.Conv2D(3, 3),
    "Conv2DTranspose": layers.Conv2DTranspose(3, 2, 2),
    "ConvertToTensor": ops.convert_to_tensor,
    "Copy": ops.copy,
    "Cropping2D": layers.Cropping2D(1),
    "Dense": layers.Dense(3),
    "DepthwiseConv2D": layers.DepthwiseConv2D(3),
    "Dropout": layers.Dropout(0.5),
    "ExpandDims": lambda x: ops.expand_dims(x[:, :, 0], 1),
    "Flatten": layers.Flatten(),
    "GaussianDropout": layers.GaussianDropout(0.5),
    "Gelu": ops.gelu,
    "GetItem": lambda x: x[:, 1:3, :, :2],
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D(),
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(),
    "GroupedConv2D": layers.Conv2D(4, 3, groups=2),
    "HardSilu": ops.hard_silu,
    "Identity": layers.Identity(),
    "LeakyRelu": ops.leaky_relu,
    "Max": lambda x: ops.max(x, 1),
    "MaxPool": lambda x: ops.max_pool(x, 2),
    "MaxPooling2D": layers.MaxPooling2D(2),
    "Maximum": lambda x: ops.maximum(x, ops.swapaxes(x, 1, 2)),
    "Mean": lambda x: ops.mean(x, (1, 2)),
    "Minimum": lambda x: ops.minimum(x, ops.swapaxes(x, 1, 2)),
    "Moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "Multiply": lambda x: ops.multiply(x, ops.swapaxes(x, 1, 2)),
    "PReLU": layers.PReLU("random_normal", shared_axes=[1, 2]),
    "Pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 2], [0, 0]]),
    "Permute": layers.Permute((2, 1, 3)),
    "Relu": lambda x: ops.relu(ops.swapaxes(x, 1, 2)),
    "Relu6": lambda x: ops.relu6(ops.swapaxes(x, 1, 2)),
    "Repeat": lambda x: ops.repeat(x, 2, axis=1),
    "Reshape": layers.Reshape((36, 4)),
    "Resize": lambda x: ops.image.resize(x, (12, 12)),
    "Resizing": layers.Resizing(12, 12),
    "Roll": lambda x: ops.roll(x, 1, axis=1),
    "Sigmoid": ops.sigmoid,
    "Softmax": ops.softmax,
    "SpatialDropout2D": layers.SpatialDropout2D(0.5),
    "Split": lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=-1),
    "Squeeze": lambda x: ops.squeeze(x[:, :1], 1),
    "Stack": lambda x: ops.stack([x[..., 0], x[..., 1]], axis=1),
    "StopGradient": ops.stop_gradient,
    "Subtract": lambda x: ops.subtract(x, ops.swapaxes(x, 1, 2)),
    "Swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "Take": lambda x: ops.take(x, [0, 2], axis=-1),
    "Tanh": ops.tanh,
    "Tile": lambda x: ops.tile(x, (1, 2, 1, 1)),
    "Transpose": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "Unstack": lambda x: ops.stack(ops.unstack(x, axis=1)[::-1], axis=1),
    "UpSampling2D": layers.UpSampling2D(2, interpolation="bilinear"),
    "ZeroPadding2D": layers.ZeroPadding2D(1),
}


def test_every_rule_has_a_graph():
    assert sorted(GRAPHS) == sorted(SAME_RANGE | OWN_RANGE | set(FIXED_RANGE))


# A conversion takes seconds, so several graphs stand in one model.
TOGETHER = [list(GRAPHS)[start::6] for start in range(6)]


@pytest.mark.export
@pytest.mark.parametrize("kinds", TOGETHER, ids=" ".join)
def test_exports_as_integers(kinds, tmp_path):
    from kdl.deploy import TFLiteRunner, export_tflite, read_tflite
    from kdl.deploy.verify import in_order_of_file

    inputs = keras.Input(batch_shape=(1, 6, 6, 3))
    outputs = [_made(GRAPHS[kind], layers.Conv2D(4, 1)(inputs)) for kind in kinds]
    model = keras.Model(inputs, outputs)
    data = np.random.default_rng(0).standard_normal((16, 6, 6, 3)).astype("float32")
    batch_norm = "live" if "BatchNormalization" in kinds else "fold"
    quantized, report = quantize_aware(model, data, batch_norm=batch_norm, batch_size=1, verbose=0)
    assert report.complete, report
    path = tmp_path / "model.tflite"
    export_tflite(quantized, path, "int8", verification_data=data)
    runner = TFLiteRunner(path)
    expected = in_order_of_file(quantized.predict(data, batch_size=1), quantized, runner)
    for y, found in zip(expected, runner.predict(data), strict=True):  # of each graph by itself
        assert np.sum((y - found) ** 2) < 10**-2.5 * np.sum(y**2)  # 25 dB
    summary = read_tflite(path)
    assert summary.float_tensors == 0
    assert "QUANTIZE" not in summary.operations


def _made(graph, x):
    if isinstance(graph, keras.layers.Layer):
        graph = type(graph).from_config({**graph.get_config(), "name": None})
    return graph(x)
