"""Sized constructors of NASNet."""

import keras

from kdl._typing import Activation, DType, Path, Shape
from kdl.applications._sized import sized
from kdl.applications.nasnet import NASNet


@sized(NASNet)
def NASNetMobile(
    penultimate_filters: int = 1056,
    blocks: int = 4,
    stem_filters: int = 32,
    skip_reduction: bool = False,
    lineage: str = "slim",
    auxiliary: bool = False,
    drop_path_keep: float = 1.0,
    normal: dict | None = None,
    reduction: dict | None = None,
    momentum: float = 0.9997,
    output_stride: int = 32,
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
) -> NASNet:
    """NASNet-A for phones, 4 @ 1056.

    Arguments, further defaults and errors as in `NASNet`.
    """
    return NASNet(**locals())


@sized(NASNet)
def NASNetLarge(
    penultimate_filters: int = 4032,
    blocks: int = 6,
    stem_filters: int = 96,
    skip_reduction: bool = True,
    lineage: str = "slim",
    auxiliary: bool = False,
    drop_path_keep: float = 1.0,
    normal: dict | None = None,
    reduction: dict | None = None,
    momentum: float = 0.9997,
    output_stride: int = 32,
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
) -> NASNet:
    """NASNet-A as a large network, 6 @ 4032.

    Arguments, further defaults and errors as in `NASNet`.
    """
    return NASNet(**locals())
