"""Sized constructors of ResNet."""

from collections.abc import Sequence

import keras

from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._sized import sized
from kdl.applications.resnet import ResNet


@sized(ResNet)
def ResNet50(
    depth: int | Sequence[int] = 50,
    width: int = 64,
    stem: str = "plain",
    strip_pooling: bool = False,
    multi_grid: Sequence[int] | None = None,
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
) -> ResNet:
    """ResNet of 50 layers.

    Arguments, further defaults and errors as in `ResNet`.
    """
    return ResNet(**locals())


@sized(ResNet)
def ResNet101(
    depth: int | Sequence[int] = 101,
    width: int = 64,
    stem: str = "plain",
    strip_pooling: bool = False,
    multi_grid: Sequence[int] | None = None,
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
) -> ResNet:
    """ResNet of 101 layers.

    Arguments, further defaults and errors as in `ResNet`.
    """
    return ResNet(**locals())
