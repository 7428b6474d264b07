"""Sized constructors of SEResNet."""

from collections.abc import Sequence

import keras

from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._sized import sized
from kdl.applications.senet import SEResNet


@sized(SEResNet)
def SEResNet50(
    depth: int | Sequence[int] = 50,
    cardinality: int = 1,
    base_width: int = 64,
    layout: str = "caffe",
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
    name: str | None = None,
) -> SEResNet:
    """SE-ResNet of 50 layers.

    Arguments, further defaults and errors as in `SEResNet`.
    """
    return SEResNet(**locals())


@sized(SEResNet)
def SEResNet101(
    depth: int | Sequence[int] = 101,
    cardinality: int = 1,
    base_width: int = 64,
    layout: str = "caffe",
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
    name: str | None = None,
) -> SEResNet:
    """SE-ResNet of 101 layers.

    Arguments, further defaults and errors as in `SEResNet`.
    """
    return SEResNet(**locals())


@sized(SEResNet)
def SEResNet152(
    depth: int | Sequence[int] = 152,
    cardinality: int = 1,
    base_width: int = 64,
    layout: str = "caffe",
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
    name: str | None = None,
) -> SEResNet:
    """SE-ResNet of 152 layers.

    Arguments, further defaults and errors as in `SEResNet`.
    """
    return SEResNet(**locals())


@sized(SEResNet)
def SEResNeXt50(
    depth: int | Sequence[int] = 50,
    cardinality: int = 32,
    base_width: int = 4,
    layout: str = "caffe",
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
    name: str | None = None,
) -> SEResNet:
    """SE-ResNeXt of 50 layers, 32×4d.

    Arguments, further defaults and errors as in `SEResNet`.
    """
    return SEResNet(**locals())


@sized(SEResNet)
def SEResNeXt101(
    depth: int | Sequence[int] = 101,
    cardinality: int = 32,
    base_width: int = 4,
    layout: str = "caffe",
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
    name: str | None = None,
) -> SEResNet:
    """SE-ResNeXt of 101 layers, 32×4d.

    Arguments, further defaults and errors as in `SEResNet`.
    """
    return SEResNet(**locals())


@sized(SEResNet)
def SENet154(
    depth: int | Sequence[int] = 152,
    cardinality: int = 64,
    base_width: int = 4,
    layout: str = "senet",
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
    name: str | None = None,
) -> SEResNet:
    """SENet-154.

    Arguments, further defaults and errors as in `SEResNet`.
    """
    return SEResNet(**locals())
