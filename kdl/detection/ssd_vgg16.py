"""VGG-16 as the body of SSD."""

from typing import Any

import keras

from kdl._typing import DType, Shape
from kdl.applications._common import chain
from kdl.applications.model_state import from_state, with_state
from kdl.layers._layer_factory import LayerFactory
from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.normalization.l2_normalization import L2Normalization
from kdl.layers.pooling.max_pooling2d import MaxPooling2D

# Convolutions of each stage, and their channels.
_STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# Places of these convolutions in torchvision's list of layers.
_PLACES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21))


@keras.saving.register_keras_serializable("kdl")
class SSDVGG16(keras.Model):
    """VGG-16 with its fully connected layers made convolutions, the body of SSD300 and SSD512.

    Five stages of 3×3 convolutions, with a max-pool between them; the fifth is followed by a 3×3
    max-pool of stride 1, a 3×3 convolution of dilation 6 and a 1×1 one, of 1024 channels each.
    Where a side is odd, pooling keeps what is left over. The features of the fourth stage, of
    stride 8, go through an `L2Normalization` on their way to the detector.

    Input: images `(batch, height, width, 3)`; published weights expect RGB from 0 to 255 less (123,
    117, 104). Output: the features of the 1×1 convolution, of stride 16.

    Args:
        input_shape: Shape without batch. Defaults to 300×300 pixels, 3 channels.
        dtype: Dtype policy of the layers; the global one by default.
        data_format: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
        name: Name of the model.

    Source: Liu et al., SSD (arXiv 1512.02325), section 3.

    Example:
        >>> model = SSDVGG16((64, 64, 3), data_format="channels_last")
        >>> {level: x.shape[1:] for level, x in model.pyramid_outputs.items()}
        {'P3': (8, 8, 512), 'P4': (4, 4, 1024)}
    """

    def __init__(
        self,
        input_shape: Shape | None = None,
        dtype: DType = None,
        data_format: str | None = None,
        name: str = "ssd_vgg16",
    ) -> None:
        dtype = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        data_format = data_format or keras.config.image_data_format()
        default = (300, 300, 3) if data_format == "channels_last" else (3, 300, 300)
        input_shape = tuple(input_shape or default)
        factory = LayerFactory("symmetric", data_format, dtype)
        common = {"data_format": data_format, "dtype": dtype}
        image = x = keras.Input(input_shape)
        for stage, (count, filters) in enumerate(_STAGES, 1):
            for number in range(1, count + 1):
                conv = factory.conv(filters, 3, f"conv{stage}_{number}", use_bias=True)
                x = chain(x, conv, factory.relu(f"relu{stage}_{number}"))
            if stage == 4:
                early = L2Normalization(name="conv4_norm", **common)(x)
            pool = (2, 2) if stage < 5 else (3, 1)
            x = MaxPooling2D(*pool, padding="same", name=f"pool{stage}", **common)(x)
        fc6 = Conv2D(1024, 3, padding="same", dilation_rate=6, name="fc6", **common)
        x = chain(x, fc6, factory.relu("relu6"))
        x = chain(x, factory.conv(1024, 1, "fc7", use_bias=True), factory.relu("relu7"))
        super().__init__(image, [early, x], name=name)
        self._arguments = {
            "input_shape": input_shape,
            "dtype": dtype.name,
            "data_format": data_format,
        }
        self._pyramid = {"P3": early, "P4": x}

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """Dict `"P3"`, `"P4"` → features of stride 8 and 16."""
        return dict(self._pyramid)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision's SSD300."""
        names = {
            f"conv{stage}_{number}": f"features.{place}"
            for stage, places in enumerate(_PLACES, 1)
            for number, place in enumerate(places, 1)
        }
        names |= {f"conv5_{number}": f"extra.0.{2 * number - 1}" for number in (1, 2, 3)}
        names |= {"fc6": "extra.0.7.1", "fc7": "extra.0.7.3"}
        names = {path: f"backbone.{name}" for path, name in names.items()}
        return {"torchvision_ssd": {**names, "conv4_norm": "backbone:scale_weight"}}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; and what is frozen."""
        return with_state(self, {**self._arguments, "name": self.name})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "SSDVGG16":
        """Build the model from its arguments."""
        return from_state(cls, config)
