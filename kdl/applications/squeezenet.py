"""SqueezeNet: fire modules (arXiv 1602.07360)."""

import keras

from kdl._checks import check_choice
from kdl._registry import ModelEntry
from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._common import StrideTracker, bind_arguments, chain
from kdl.applications.application import Application
from kdl.applications.preprocessing import decode_predictions, scale_torch
from kdl.applications.weights.sources.squeezenet import IMAGENET
from kdl.layers.blocks.fire_module import FireModule
from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.pooling.max_pooling2d import MaxPooling2D
from kdl.ops.channels import channel_axis

_PADDINGS = ("valid", "same")
_BYPASSES = (None, "simple", "complex")

# version → filters and kernel of the stem, and the fire modules that a max-pool follows.
_VERSIONS = {"1.0": (96, 7, (4, 8)), "1.1": (64, 3, (3, 5))}

# Number of the fire module → channels of its squeeze and of each of its two expansions.
_FIRES = {
    2: (16, 64),
    3: (16, 64),
    4: (32, 128),
    5: (32, 128),
    6: (48, 192),
    7: (48, 192),
    8: (64, 256),
    9: (64, 256),
}

# version → smallest image of which a pixel is left without padding.
_MINIMUM = {"1.0": 21, "1.1": 17}

# Without batch norms, larger rates leave the network dead.
_LEARNING_RATE = 0.0005


@keras.saving.register_keras_serializable("kdl")
class SqueezeNet(Application):
    """SqueezeNet: a classifier of five megabytes, and a backbone.

    Stem convolution with stride 2 (7×7 in version 1.0, 3×3 in version 1.1) and eight
    `FireModule`s, with three 3×3/2 max-pools among them; dropout, 1×1 convolution to the classes,
    ReLU, global average, activation. Its total stride is 16, so that the pyramid ends at `"P4"`.

    As in the references, neither the stem nor the pools pad, and the pools keep an incomplete last
    window. Levels of the pyramid are therefore up to three pixels smaller than `⌈size / 2ⁿ⌉`, and
    pixels of different levels do not lie on one grid. `padding="same"` changes both.

    Input: float images `(batch, height, width, channels)` of at least 21×21 pixels in version 1.0,
    17×17 in version 1.1 and 16×16 with `padding="same"`, scaled by `preprocess_input` if the
    weights are published ones. Output: `(batch, classes)`, or the last feature map without top.

    Args:
        version: `"1.0"` (default), or `"1.1"`, which has 2.4 times fewer multiply-adds.
        bypass: None (default), `"simple"` (every second module, from the third on, adds its input)
            or `"complex"` (the others do too, through a 1×1 convolution).
        output_stride: Largest stride: 8, 16, or 32 (default), which is the same as 16; the rest is
            dilation.
        padding: `"valid"` (default, as the references) or `"same"` (TensorFlow's rule) of the stem
            and the pools. Published weights need `"valid"`.
        weights: None (default), `"imagenet"` (torchvision's weights), or the path of a
            `.weights.h5`, `.keras`, `.pth` or `.safetensors` file.
        include_top, input_tensor, input_shape, pooling, classes, classifier_activation, dtype,
            data_format, name: Those of every `kdl.applications.Application`. The activation comes
            after the global average here; logits are not negative.

    Raises:
        ValueError: If an argument is out of range, the input too small, or the weights of another
            network.
        FileNotFoundError: If the file of weights does not exist.

    Source: SqueezeNet (arXiv 1602.07360), table 1 and section 6; version 1.1 is of the authors'
    repository.

    Example:
        >>> model = SqueezeNet("1.1", input_shape=(64, 64, 3), classes=10)
        >>> model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        version: str = "1.0",
        bypass: str | None = None,
        output_stride: int = 32,
        padding: str = "valid",
        include_top: bool = True,
        weights: Path | None = None,
        input_tensor: keras.KerasTensor | None = None,
        input_shape: Shape | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: Activation = "softmax",
        dtype: DType = None,
        data_format: str | None = None,
        name: str | None = None,
    ) -> None:
        own, common = bind_arguments(locals())
        check_choice("version", version, tuple(_VERSIONS))
        check_choice("bypass", bypass, _BYPASSES)
        check_choice("padding", padding, _PADDINGS)
        inputs = common.inputs(minimum=_MINIMUM[version] if padding == "valid" else 16)
        strides = StrideTracker(output_stride)
        x = strides.record(_stem(inputs, version, strides.next(2)[0], padding, common))
        x = strides.record(_max_pool(x, "stem_pool", strides.next(2)[0], padding, common))
        # All other convolutions have stride 1, where it does not matter how one pads.
        block = common.block_arguments(common.factory("same"))
        for number, (squeeze, expand) in _FIRES.items():
            _, dilation = strides.next(1)
            x = FireModule(
                squeeze,
                expand,
                expand,
                bypass if bypass == "complex" or number % 2 else None,
                dilation,
                name=f"fire{number}",
                **block,
            )(x)
            strides.record(x)
            if number in _VERSIONS[version][2]:
                step = strides.next(2)[0]
                x = strides.record(_max_pool(x, f"fire{number}_pool", step, padding, common))
        outputs = _head(x, common) if include_top else common.pool(x)
        sources = () if bypass else (IMAGENET[version],)
        super().__init__(own, common, strides, outputs, _name(version, bypass), sources)

    preprocess_input = staticmethod(scale_torch)
    decode_predictions = staticmethod(decode_predictions)

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision, which has no bypasses."""
        arguments = self.get_config()
        if arguments["bypass"]:
            return {}
        names = {"stem_conv": "features.0", "classifier": "classifier.1"}
        index = 3  # after the stem, its ReLU and its pool
        for number in _FIRES:
            for layer in ("squeeze", "expand1x1", "expand3x3"):
                names[f"fire{number}/{layer}"] = f"features.{index}.{layer}"
            index += 2 if number in _VERSIONS[arguments["version"]][2] else 1
        return {"torchvision": names}


def _name(version, bypass):
    return f"squeezenet{version.replace('.', '_')}" + (f"_{bypass}" if bypass else "")


def _layer_arguments(name, common):
    return {"name": name, "dtype": common.dtype, "data_format": common.data_format}


def _stem(x, version, strides, padding, common):
    filters, kernel, _ = _VERSIONS[version]
    return Conv2D(
        filters,
        kernel,
        strides,
        padding,
        activation="relu",
        kernel_initializer="he_uniform",
        **_layer_arguments("stem_conv", common),
    )(x)


def _max_pool(x, name, strides, padding, common):
    """3×3 max-pool; without padding its last window may reach one pixel beyond the border.

    With stride 2 it does so where the size is even, and then TensorFlow's rule is the same. Where
    the size is dynamic, or only one of the two is even, the maximum is computed around every pixel,
    and every second one taken, from the second on. With stride 1, a stride given up for dilation,
    it always does, so that every second pixel is one of stride 2.
    """

    def pool(size, strides, padding, name=name):
        return MaxPooling2D(size, strides, padding, **_layer_arguments(name, common))

    odd = {size and size % 2 for size in _sizes(x, common)}
    if padding == "same" or (strides == 2 and odd == {0}):
        return pool(3, strides, "same")(x)
    if strides == 2 and odd == {1}:
        return pool(3, 2, "valid")(x)
    crop = keras.layers.Cropping2D(((1, 0), (1, 0)), **_layer_arguments(f"{name}_crop", common))
    x = crop(pool(3, 1, "same", f"{name}_around")(x))
    return x if strides == 1 else pool(1, 2, "valid")(x)


def _sizes(x, common):
    return x.shape[1:3] if channel_axis(common.data_format) == -1 else x.shape[2:]


def _head(x, common):
    """Classifier by convolution; it computes in float32 under every dtype policy."""
    conv = Conv2D(
        common.classes,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        name="classifier",
        dtype="float32",
        data_format=common.data_format,
    )
    return chain(
        x,
        keras.layers.Dropout(0.5, dtype=common.dtype, name="dropout"),
        conv,
        keras.layers.ReLU(dtype="float32", name="classifier_relu"),
        keras.layers.GlobalAveragePooling2D(common.data_format, dtype="float32", name="pool"),
        keras.layers.Activation(
            common.classifier_activation, dtype="float32", name="classifier_activation"
        ),
    )


# (version, bypass) → trainable parameters and multiply-adds at 224² with 1000 classes.
_COUNTS = {
    ("1.0", None): (1_248_424, 818.9e6),
    ("1.1", None): (1_235_496, 349.2e6),
    ("1.0", "simple"): (1_248_424, 818.9e6),
    ("1.1", "simple"): (1_235_496, 349.2e6),
    ("1.0", "complex"): (1_589_672, None),
    ("1.1", "complex"): (1_572_648, None),
}


def _entry(version, bypass, parameters, macs):
    return ModelEntry(
        _name(version, bypass),
        SqueezeNet,
        {"version": version, "bypass": bypass},
        parameters,
        macs,
        () if bypass else (IMAGENET[version],),
        learning_rate=_LEARNING_RATE,
    )


ENTRIES = [_entry(*key, *counts) for key, counts in _COUNTS.items()]
