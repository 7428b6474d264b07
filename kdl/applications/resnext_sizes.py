"""Sized constructors of ResNeXt."""

from collections.abc import Sequence

import keras

from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._sized import sized
from kdl.applications.resnext import ResNeXt


@sized(ResNeXt)
def ResNeXt50(
    depth: int | Sequence[int] = 50,
    cardinality: int = 32,
    base_width: int = 4,
    form: str = "c",
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
) -> ResNeXt:
    """ResNeXt of 50 layers, 32×4d.

    Arguments, further defaults and errors as in `ResNeXt`.
    """
    return ResNeXt(**locals())


@sized(ResNeXt)
def ResNeXt101(
    depth: int | Sequence[int] = 101,
    cardinality: int = 32,
    base_width: int = 8,
    form: str = "c",
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
) -> ResNeXt:
    """ResNeXt of 101 layers, 32×8d.

    Arguments, further defaults and errors as in `ResNeXt`.
    """
    return ResNeXt(**locals())
