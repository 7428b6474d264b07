"""Sized constructors of Res2Net."""

from collections.abc import Sequence

import keras

from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._sized import sized
from kdl.applications.res2net import Res2Net


@sized(Res2Net)
def Res2Net50(
    depth: int | Sequence[int] = 50,
    base_width: int = 26,
    scale: int = 4,
    cardinality: int = 1,
    variant: str | None = None,
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
) -> Res2Net:
    """Res2Net of 50 layers.

    Arguments, further defaults and errors as in `Res2Net`.
    """
    return Res2Net(**locals())


@sized(Res2Net)
def Res2Net101(
    depth: int | Sequence[int] = 101,
    base_width: int = 26,
    scale: int = 4,
    cardinality: int = 1,
    variant: str | None = None,
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
) -> Res2Net:
    """Res2Net of 101 layers.

    Arguments, further defaults and errors as in `Res2Net`.
    """
    return Res2Net(**locals())


@sized(Res2Net)
def Res2NeXt50(
    depth: int | Sequence[int] = 50,
    base_width: int = 4,
    scale: int = 4,
    cardinality: int = 8,
    variant: str | None = None,
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
) -> Res2Net:
    """Res2NeXt of 50 layers, 8 groups of 4 channels.

    Arguments, further defaults and errors as in `Res2Net`.
    """
    return Res2Net(**locals())
