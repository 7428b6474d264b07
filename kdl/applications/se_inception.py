"""SE-BN-Inception: Inception modules with squeeze-and-excitation (arXiv 1709.01507)."""

import keras

from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_caffe
from kdl.layers.blocks.inception_block import InceptionBlock

# Module → channels of its branches: 1×1; 1×1 and 3×3; 1×1 and twice 3×3; after the pool; its pool.
# Those without a 1×1 branch halve the size.
_MODULES = {
    "3a": (64, (64, 64), (64, 96), 32, "average"),
    "3b": (64, (64, 96), (64, 96), 64, "average"),
    "3c": (0, (128, 160), (64, 96), 0, "max"),
    "4a": (224, (64, 96), (96, 128), 128, "average"),
    "4b": (192, (96, 128), (96, 128), 128, "average"),
    "4c": (160, (128, 160), (128, 160), 128, "average"),
    "4d": (96, (128, 192), (160, 192), 128, "average"),
    "4e": (0, (128, 192), (192, 256), 0, "max"),
    "5a": (352, (192, 320), (160, 224), 128, "average"),
    "5b": (352, (192, 320), (192, 224), 128, "max"),
}

_RATIO = 16


@keras.saving.register_keras_serializable("kdl")
class SEInception(Application):
    """SE-BN-Inception: BN-Inception whose modules gate their channels.

    Stem (7×7/2, max-pool, 1×1, 3×3, max-pool), ten `InceptionBlock(squeeze_ratio=16)`, of which the
    third and the eighth halve the size, global average, classifier. The max-pools of the stem pad
    nothing, but their last window may reach beyond the border, so that their output has
    `⌊size / 2⌋` pixels.

    Input: float images `(batch, height, width, channels)` of at least 32×32 pixels, scaled by
    `preprocess_input` as the authors did. Output: `(batch, classes)`, or the last feature map
    without top.

    Args:
        output_stride: Largest stride: 8, 16 or 32 (default); the rest is dilation of the
            convolutions, while the pools of the modules see 3×3 neighbors as before.
        padding: `"symmetric"` (default, as in Caffe) or `"same"` (TensorFlow's rule).
        weights: None (default), or the path of a `.weights.h5` or `.keras` file. Published weights
            are files of Caffe, which kdl does not read.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: Squeeze-and-Excitation Networks (arXiv 1709.01507), section 4; the widths are those of
    the authors' `SE-BN-Inception.prototxt` (github.com/hujie-frank/SENet).

    Example:
        >>> model = SEInception(input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        output_stride: int = 32,
        padding: str = "symmetric",
        include_top: bool = True,
        weights: Path | None = None,
        input_tensor: keras.KerasTensor | None = None,
        input_shape: Shape | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "se_inception",
    ) -> None:
        own, common = bind_arguments(locals())
        inputs = common.inputs()
        factory, strides = common.factory(padding), StrideTracker(output_stride)
        block_arguments = common.block_arguments(factory)
        x = _stem(inputs, factory, strides)
        for module, arguments in _MODULES.items():
            step, dilation = strides.next(1 if arguments[0] else 2)
            x = InceptionBlock(
                *arguments, step, dilation, _RATIO, name=f"inception{module}", **block_arguments
            )(x)
            strides.record(x)
        super().__init__(own, common, strides, common.head(x), "se_inception")

    preprocess_input = staticmethod(scale_caffe)
    decode_predictions = staticmethod(decode_predictions)


def _stem(x, factory, strides):
    x = strides.record(chain(x, _conv_norm_relu(factory, 64, 7, "stem1", strides.next(2)[0])))
    x = strides.record(chain(x, factory.ceil_max_pool("stem1_pool", strides.next(2)[0])))
    x = chain(x, _conv_norm_relu(factory, 64, 1, "stem2"))
    x = strides.record(chain(x, _conv_norm_relu(factory, 192, 3, "stem3")))
    return strides.record(chain(x, factory.ceil_max_pool("stem3_pool", strides.next(2)[0])))


def _conv_norm_relu(factory, filters, kernel_size, name, strides=1):
    return [
        *factory.conv(filters, kernel_size, f"{name}_conv", strides),
        factory.norm(f"{name}_bn"),
        factory.relu(f"{name}_relu"),
    ]


ENTRIES = [ModelEntry("se_inception", SEInception, {}, 11_931_622, None)]
