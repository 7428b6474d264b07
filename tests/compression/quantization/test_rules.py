"""What the tables call quantized, the converter writes in integers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kdl.compression import quantize_aware
from kdl.compression.quantization._rules import FIXED_RANGE, OWN_RANGE, SAME_RANGE

# Class of the operation → a graph with it, after a tensor of (1, 6, 6, 4).
GRAPHS = {
    "Absolute": ops.absolute,
    "ActivityRegularization": layers.ActivityRegularization(0.1),
    "Add": lambda x: ops.add(x, ops.swapaxes(x, 1, 2)),
    "AlphaDropout": layers.AlphaDropout(0.5),
    "AugMix": layers.AugMix(),
    "AveragePool": lambda x: ops.average_pool(x, 2),
    "AveragePooling1D": lambda x: layers.AveragePooling1D(3)(x[:, 0]),
    "AveragePooling2D": layers.AveragePooling2D(2),
    "BatchNormalization": lambda x: layers.BatchNormalization()(layers.Conv2D(3, 1)(x)),
    "CenterCrop": layers.CenterCrop(3, 3),
    "Concatenate": lambda x: ops.concatenate([x, ops.relu6(x)], axis=-1),
    "Conv2D": layers.Conv2D(3, 3),
    "Conv2DTranspose": layers.Conv2DTranspose(3, 2, 2),
    "ConvertToTensor": ops.convert_to_tensor,
    "Copy": ops.copy,
    "Cropping1D": lambda x: layers.Cropping1D(1)(x[:, 0]),
    "Cropping2D": layers.Cropping2D(1),
    "CutMix": layers.CutMix(),
    "Dense": layers.Dense(3),
    "DepthwiseConv2D": layers.DepthwiseConv2D(3),
    "Dropout": layers.Dropout(0.5),
    "ExpandDims": lambda x: ops.expand_dims(x[:, :, 0], 1),
    "Exp": ops.exp,
    "Flatten": layers.Flatten(),
    "Flip": lambda x: ops.flip(x, 1),
    "GaussianDropout": layers.GaussianDropout(0.5),
    "GaussianNoise": layers.GaussianNoise(0.5),
    "Gelu": ops.gelu,
    "GetItem": lambda x: x[:, 1:3, :, :2],
    "GlobalAveragePooling1D": lambda x: layers.GlobalAveragePooling1D()(x[:, 0]),
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D(),
    "GlobalMaxPooling1D": lambda x: layers.GlobalMaxPooling1D()(x[:, 0]),
    "GlobalMaxPooling2D": layers.GlobalMaxPooling2D(),
    "GroupedConv2D": layers.Conv2D(4, 3, groups=2),
    "HardSilu": ops.hard_silu,
    "Identity": layers.Identity(),
    "LeakyRelu": ops.leaky_relu,
    "Max": lambda x: ops.max(x, 1),
    "MaxPool": lambda x: ops.max_pool(x, 2),
    "MaxPooling1D": lambda x: layers.MaxPooling1D(3)(x[:, 0]),
    "MaxPooling2D": layers.MaxPooling2D(2),
    "Maximum": lambda x: ops.maximum(x, ops.swapaxes(x, 1, 2)),
    "Mean": lambda x: ops.mean(x, (1, 2)),
    "Minimum": lambda x: ops.minimum(x, ops.swapaxes(x, 1, 2)),
    "MixUp": layers.MixUp(),
    "Moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "Multiply": lambda x: ops.multiply(x, ops.swapaxes(x, 1, 2)),
    "PReLU": layers.PReLU("random_normal", shared_axes=[1, 2]),
    "Pad": lambda x: ops.pad(x, [[0, 0], [1, 1], [0, 2], [0, 0]]),
    "Permute": layers.Permute((2, 1, 3)),
    "RandAugment": layers.RandAugment(),
    **{
        kind: getattr(layers, kind)(*arguments)
        for kind, arguments in {
            "RandomBrightness": (0.1,),
            "RandomColorDegeneration": (0.1,),
            "RandomColorJitter": (),
            "RandomContrast": (0.1,),
            "RandomElasticTransform": (),
            "RandomErasing": (),
            "RandomFlip": (),
            "RandomGaussianBlur": (),
            "RandomGrayscale": (),
            "RandomHue": (0.1,),
            "RandomInvert": (),
            "RandomPerspective": (),
            "RandomPosterization": (4,),
            "RandomRotation": (0.1,),
            "RandomSaturation": (0.1,),
            "RandomSharpness": (0.1,),
            "RandomShear": (),
            "RandomTranslation": (0.1, 0.1),
            "RandomZoom": (0.1,),
        }.items()
    },
    "Relu": lambda x: ops.relu(ops.swapaxes(x, 1, 2)),
    "Relu6": lambda x: ops.relu6(ops.swapaxes(x, 1, 2)),
    "Repeat": lambda x: ops.repeat(x, 2, axis=1),
    "RepeatVector": lambda x: layers.RepeatVector(3)(x[:, 0, 0]),
    "Reshape": layers.Reshape((36, 4)),
    "Resize": lambda x: ops.image.resize(x, (12, 12)),
    "Resizing": layers.Resizing(12, 12),
    "Roll": lambda x: ops.roll(x, 1, axis=1),
    "Sigmoid": ops.sigmoid,
    "Softmax": ops.softmax,
    "SpatialDropout1D": lambda x: layers.SpatialDropout1D(0.5)(x[:, 0]),
    "SpatialDropout2D": layers.SpatialDropout2D(0.5),
    "Split": lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=-1),
    "Sqrt": lambda x: ops.sqrt(ops.relu(x) + 1.0),
    "Squeeze": lambda x: ops.squeeze(x[:, :1], 1),
    "Stack": lambda x: ops.stack([x[..., 0], x[..., 1]], axis=1),
    "StopGradient": ops.stop_gradient,
    "Subtract": lambda x: ops.subtract(x, ops.swapaxes(x, 1, 2)),
    "Sum": lambda x: ops.sum(x, axis=(1, 2)),
    "Swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "Take": lambda x: ops.take(x, [0, 2], axis=-1),
    "Tanh": ops.tanh,
    "Tile": lambda x: ops.tile(x, (1, 2, 1, 1)),
    "Transpose": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "Unstack": lambda x: ops.stack(ops.unstack(x, axis=1)[::-1], axis=1),
    "UpSampling1D": lambda x: layers.UpSampling1D(2)(x[:, 0]),
    "UpSampling2D": layers.UpSampling2D(2, interpolation="bilinear"),
    "ZeroPadding1D": lambda x: layers.ZeroPadding1D(2)(x[:, 0]),
    "ZeroPadding2D": layers.ZeroPadding2D(1),
}


# Layers that take images of three channels alone.
OF_COLORS = (
    *("RandomColorDegeneration", "RandomGrayscale", "RandomHue", "RandomSaturation"),
    *("RandomSharpness", "RandomPosterization"),
)


def test_every_rule_has_a_graph():
    assert sorted(GRAPHS) == sorted(SAME_RANGE | OWN_RANGE | set(FIXED_RANGE))


# A conversion takes seconds, so several graphs stand in one model.
TOGETHER = [list(GRAPHS)[start::6] for start in range(6)]


@pytest.mark.long
@pytest.mark.export
@pytest.mark.parametrize("kinds", TOGETHER, ids=" ".join)
def test_exports_as_integers(kinds, tmp_path):
    from kdl.deploy import TFLiteRunner, export_tflite, read_tflite
    from kdl.deploy.exporting.verify import in_order_of_file

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
    if type(graph).__name__ in OF_COLORS:
        x = x[..., :3]
    if isinstance(graph, keras.layers.Layer):
        graph = type(graph).from_config({**graph.get_config(), "name": None})
    return graph(x)
