"""SE-BN-Inception (arXiv 1709.01507)."""

import keras

from kdl.applications._common import CommonArguments, Strides, chain
from kdl.applications.application import Application
from kdl.applications.model_entry import ModelEntry
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
            convolutions, while the pools of the modules see 3×3 neighbours as before.
        padding: `"symmetric"` (default, as in Caffe) or `"same"` (TensorFlow's rule).
        include_top: Whether to add the classifier. Defaults to True.
        weights: None (default), or the path of a `.weights.h5` or `.keras` file. Published weights
            are files of Caffe, which kdl does not read.
        input_tensor: A `keras.Input` to build on.
        input_shape: Shape without batch. Defaults to `(224, 224, 3)`; `(None, None, 3)` without
            top.
        pooling: Without top: None (default), `"avg"` or `"max"`.
        classes: Number of classes. Defaults to 1000.
        classifier_activation: Activation of the classifier, `"softmax"` by default; None gives
            logits.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model, `"se_inception"` by default.

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
        output_stride=32,
        padding="symmetric",
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        dtype=None,
        data_format=None,
        name="se_inception",
    ):
        common = CommonArguments(
            include_top,
            input_tensor,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            dtype,
            data_format,
        )
        inputs = common.inputs()
        make, strides = common.maker(padding), Strides(output_stride)
        block_arguments = common.block_arguments(make)
        x = _stem(inputs, make, strides)
        for module, arguments in _MODULES.items():
            step, dilation = strides.step(1 if arguments[0] else 2)
            x = InceptionBlock(
                *arguments, step, dilation, _RATIO, name=f"inception{module}", **block_arguments
            )(x)
            strides.keep(x)
        arguments = {"output_stride": output_stride, "padding": padding, **common.config()}
        super().__init__(inputs, common.head(x), strides, arguments, name)
        self.load_initial_weights(weights)

    preprocess_input = staticmethod(scale_caffe)
    decode_predictions = staticmethod(decode_predictions)


def _stem(x, make, strides):
    x = strides.keep(chain(x, _conv_norm_relu(make, 64, 7, "stem1", strides.step(2)[0])))
    x = strides.keep(chain(x, make.ceil_max_pool("stem1_pool", strides.step(2)[0])))
    x = chain(x, _conv_norm_relu(make, 64, 1, "stem2"), _conv_norm_relu(make, 192, 3, "stem3"))
    return strides.keep(
        chain(strides.keep(x), make.ceil_max_pool("stem3_pool", strides.step(2)[0]))
    )


def _conv_norm_relu(make, filters, kernel_size, name, strides=1):
    return [
        *make.conv(filters, kernel_size, f"{name}_conv", strides),
        make.norm(f"{name}_bn"),
        make.relu(f"{name}_relu"),
    ]


ENTRIES = [ModelEntry("se_inception", SEInception, {}, 11_931_622, None)]
