"""SPNet: semantic segmentation with strip pooling (arXiv 2003.13328)."""

from collections.abc import Sequence
from typing import Any

import keras

from kdl._checks import check_integer
from kdl._registry import ModelEntry
from kdl._typing import DType, Shape
from kdl.applications._backbone import as_backbone, conventions
from kdl.applications._common import chain
from kdl.applications.model_state import from_state, with_state
from kdl.applications.pyramid import pyramid
from kdl.applications.resnet import ResNet
from kdl.graph.copy_layer import made_from_config
from kdl.graph.copy_model import keep_state
from kdl.layers._layer_factory import LayerFactory
from kdl.layers.pooling.mixed_pooling import MixedPooling
from kdl.ops.resizing import resize_align_corners

# The share of the auxiliary head in the loss.
_AUXILIARY_WEIGHT = 0.4


@keras.saving.register_keras_serializable("kdl")
class SPNet(keras.Model):
    """Scene parsing with pooling over strips, on any backbone.

    The head: 1×1 conv to `width` channels, BN, ReLU → `MixedPooling`, as often as asked → 3×3 conv
    to half of that, BN, ReLU, dropout of whole channels → 1×1 conv to `classes` → bilinear resize
    to the size of the image, corners aligned. It gives logits.

    While training, a second, auxiliary head (3×3 conv, BN, ReLU, dropout, 1×1 conv, resize) reads
    the stage before the last, and its loss counts 0.4. With `auxiliary=True` the outputs are
    `{"main": …, "auxiliary": …}`, and both have the same targets:

        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
        iou = kdl.metrics.MeanIoU(21, ignore_class=255)
        model.compile("adam", {"main": loss, "auxiliary": loss},
                      loss_weights=model.loss_weights, metrics={"main": iou})
        model.fit(images, {"main": labels, "auxiliary": labels})
        network = model.inference_model()

    Input: that of the backbone. Output: float32 logits `(batch, height, width, classes)`;
    `(batch, classes, height, width)` with `data_format="channels_first"`.

    Args:
        backbone: A functional model that gives a feature map, such as those of `kdl.applications`
            with `include_top=False` and `output_stride=8`, or its serialized form. Its layers and
            weights become part of this model. Height and width of its input must be known.
        classes: Number of classes. Defaults to 21.
        width: Channels of the mixed pooling modules, a multiple of 4; by default half of what the
            backbone gives, rounded down to such a multiple.
        modules: Number of mixed pooling modules. Defaults to 2.
        pool_sizes: Sides of their grids. Defaults to 20 and 12.
        dropout: Fraction dropped before each classifier. Defaults to 0.1.
        auxiliary: True (default) for a network with the auxiliary head.
        dtype: Dtype policy of the heads; by default that of a backbone of kdl, else the global one.
        data_format: `"channels_last"` or `"channels_first"`; by default that of a backbone of kdl,
            else Keras's image data format.
        name: Name of the model.

    Raises:
        ValueError: If an argument is out of range, the backbone gives no feature map, or the size
            of its input is dynamic.

    Source: Strip Pooling (arXiv 2003.13328), section 4.1, and the authors' code. No trained weights
    are published.

    Example:
        >>> import kdl
        >>> backbone = kdl.applications.ShuffleNetV2(0.5, include_top=False, output_stride=8,
        ...     input_shape=(32, 48, 3), data_format="channels_last")
        >>> model = SPNet(backbone, classes=5, width=16, pool_sizes=(3, 2))
        >>> model.output["main"].shape, model.inference_model().output_shape
        ((None, 32, 48, 5), (None, 32, 48, 5))
    """

    def __init__(
        self,
        backbone: keras.Model | dict,
        classes: int = 21,
        width: int | None = None,
        modules: int = 2,
        pool_sizes: Sequence[int] = (20, 12),
        dropout: float = 0.1,
        auxiliary: bool = True,
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "spnet",
    ) -> None:
        backbone = as_backbone(backbone)
        dtype, data_format = conventions(backbone, dtype, data_format)
        classes = check_integer("classes", classes)
        modules = check_integer("modules", modules, least=0)
        factory = LayerFactory("symmetric", data_format, dtype)
        _check_backbone(backbone)
        width = width or _default_width(backbone, factory)
        width = check_integer("width", width)
        heads = _Heads(factory, classes, dropout, _size(backbone.inputs[0], factory))
        outputs = heads.main(backbone.outputs[0], width, modules, pool_sizes)
        if auxiliary:
            second = heads.auxiliary(_stage_before_the_last(backbone))
            outputs = {"main": outputs, "auxiliary": second}
        super().__init__(inputs=backbone.inputs[0], outputs=outputs, name=name)
        self._arguments = {
            "backbone": keras.saving.serialize_keras_object(backbone),
            "classes": classes,
            "width": width,
            "modules": modules,
            "pool_sizes": tuple(pool_sizes),
            "dropout": dropout,
            "auxiliary": auxiliary,
            "dtype": dtype.name,
            "data_format": data_format,
        }

    @property
    def loss_weights(self) -> dict[str, float] | None:
        """Dict: name of an output → its share in the loss, for `compile`; None for one output."""
        if not self._arguments["auxiliary"]:
            return None
        return {"main": 1.0, "auxiliary": _AUXILIARY_WEIGHT}

    def inference_model(self) -> "SPNet":
        """This network without the auxiliary head, which gives the logits alone.

        Returns:
            An `SPNet` with copies of the weights, not compiled.
        """
        with made_from_config(self):
            copy = type(self)(**{**self._arguments, "name": self.name, "auxiliary": False})
        for layer in copy.layers:
            if not isinstance(layer, keras.layers.InputLayer):
                keep_state(self.get_layer(layer.name), layer)
        return copy

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, the backbone in its serialized form; and what is frozen."""
        return with_state(self, {**self._arguments, "name": self.name})

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "SPNet":
        """Build the model from its arguments."""
        return from_state(cls, config)


def _spnet(depth, name, input_shape, classes, strip_pooling, auxiliary, dtype, data_format):
    data_format = data_format or keras.config.image_data_format()
    crop = (480, 480, 3) if data_format == "channels_last" else (3, 480, 480)
    backbone = ResNet(
        depth,
        stem="deep",
        strip_pooling=strip_pooling,
        multi_grid=(1, 2, 4),
        output_stride=8,
        include_top=False,
        input_shape=input_shape or crop,
        dtype=dtype,
        data_format=data_format,
    )
    return SPNet(backbone, classes, auxiliary=auxiliary, name=name)


def SPNet50(
    input_shape: Shape | None = None,
    classes: int = 150,
    strip_pooling: bool = True,
    auxiliary: bool = True,
    dtype: DType = None,
    data_format: str | None = None,
    name: str = "spnet50",
) -> SPNet:
    """SPNet of the paper, 50 layers: `SPNet` on a dilated `ResNet` that pools over strips.

    Args:
        input_shape: Shape of an image. Defaults to 480×480 with 3 channels, the crops of ADE20K.
        classes: Number of classes. Defaults to 150, those of ADE20K.
        strip_pooling: True (default) for a backbone with strip pooling, too.
        auxiliary: True (default) for a network with the auxiliary head.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model.
    """
    return _spnet(50, name, input_shape, classes, strip_pooling, auxiliary, dtype, data_format)


def SPNet101(
    input_shape: Shape | None = None,
    classes: int = 150,
    strip_pooling: bool = True,
    auxiliary: bool = True,
    dtype: DType = None,
    data_format: str | None = None,
    name: str = "spnet101",
) -> SPNet:
    """SPNet of the paper, 101 layers; arguments and further defaults as in `SPNet50`."""
    return _spnet(101, name, input_shape, classes, strip_pooling, auxiliary, dtype, data_format)


class _Heads:
    """Builds the two heads.

    Args:
        factory: The network's `LayerFactory`.
        classes: Number of classes.
        dropout: Fraction dropped before the classifier.
        size: Height and width of the result.
    """

    def __init__(self, factory, classes, dropout, size) -> None:
        self.factory, self.classes, self.dropout, self.size = factory, classes, dropout, size

    def main(self, x, width, modules, pool_sizes):
        """The head with mixed pooling."""
        factory = self.factory
        x = chain(x, self._conv(width, 1, "head1"))
        for index in range(modules):
            x = MixedPooling(
                pool_sizes,
                epsilon=factory.epsilon,
                momentum=factory.momentum,
                data_format=factory.data_format,
                dtype=factory.dtype,
                name=f"mixed_pooling{index + 1}",
            )(x)
        x = chain(x, self._conv(max(width // 2, 1), 3, "head2"))
        drop = keras.layers.SpatialDropout2D(
            self.dropout, data_format=factory.data_format, dtype=factory.dtype, name="head_dropout"
        )
        return self._classify(drop(x), "classifier")

    def auxiliary(self, x):
        """Head of convolutions alone."""
        x = chain(x, self._conv(max(x.shape[self.factory.axis] // 4, 1), 3, "auxiliary"))
        dtype = self.factory.dtype
        x = keras.layers.Dropout(self.dropout, dtype=dtype, name="auxiliary_dropout")(x)
        return self._classify(x, "auxiliary_classifier")

    def _conv(self, filters, kernel_size, name):
        factory = self.factory
        conv = factory.conv(filters, kernel_size, f"{name}_conv")
        return [*conv, factory.norm(f"{name}_bn"), factory.relu(f"{name}_relu")]

    def _classify(self, x, name):
        """Logits in float32 under every dtype policy, for the softmax's sake."""
        factory = LayerFactory(self.factory.padding, self.factory.data_format, "float32")
        x = chain(x, factory.conv(self.classes, 1, name, use_bias=True))
        return resize_align_corners(x, self.size, self.factory.data_format)


def _check_backbone(backbone):
    outputs = backbone.outputs
    if len(backbone.inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 4:
        shapes = [tuple(x.shape) for x in outputs]
        raise ValueError(
            f"backbone must take one image and give one feature map; {backbone.name} gives "
            f"{shapes}. Build it with include_top=False and pooling=None."
        )


def _size(image, factory):
    size = tuple(image.shape[1:3] if factory.axis == -1 else image.shape[2:])
    if None in size:
        raise ValueError(
            f"SPNet needs a known height and width; the backbone takes {tuple(image.shape)}. Build "
            f"it with a full input_shape."
        )
    return size


def _default_width(backbone, factory):
    return max(backbone.outputs[0].shape[factory.axis] // 8, 1) * 4


def _stage_before_the_last(backbone):
    stages = getattr(backbone, "stage_outputs", None) or pyramid(backbone)
    if len(stages) < 2:
        raise ValueError(
            f"{backbone.name} has one stage only: the auxiliary head finds none before the last. "
            f"Pass auxiliary=False."
        )
    return stages[sorted(stages)[-2]]


# With 150 classes, at 480×480 pixels, with the auxiliary head.
ENTRIES = [
    ModelEntry(
        "spnet50",
        SPNet50,
        {},
        parameters=47_838_124,
        macs=None,
        input_shape=(480, 480, 3),
        task="segmenter",
        counted_macs=151_746_895_872,
    ),
    ModelEntry(
        "spnet101",
        SPNet101,
        {},
        parameters=66_830_252,
        macs=None,
        input_shape=(480, 480, 3),
        task="segmenter",
        counted_macs=219_930_550_272,
    ),
]
