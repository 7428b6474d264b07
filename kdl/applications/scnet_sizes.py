"""Sized constructors of SCNet."""

from collections.abc import Sequence

import keras

from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._sized import sized
from kdl.applications.scnet import SCNet


@sized(SCNet)
def SCNet50(
    depth: int | Sequence[int] = 50,
    variant: str | None = None,
    upsampling: str = "nearest",
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
) -> SCNet:
    """SCNet of 50 layers.

    Arguments, further defaults and errors as in `SCNet`.
    """
    return SCNet(**locals())


@sized(SCNet)
def SCNet101(
    depth: int | Sequence[int] = 101,
    variant: str | None = None,
    upsampling: str = "nearest",
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
) -> SCNet:
    """SCNet of 101 layers.

    Arguments, further defaults and errors as in `SCNet`.
    """
    return SCNet(**locals())
