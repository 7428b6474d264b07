"""Arrangement of NASNet: stem, stacked cells, auxiliary classifier."""

import keras

from kdl.applications._common import chain
from kdl.layers.blocks.nasnet_cell import NASNetCell
from kdl.layers.convolution.conv2d import Conv2D
from kdl.layers.pooling.average_pooling2d import AveragePooling2D


def plan_cells(filters, blocks):
    """`(name, reduces, filters)` of each cell, from the first to the last; `reduces` is boolean.

    Args:
        filters: Filters of the normal cells of the first stage.
        blocks: Normal cells in a stage.
    """
    yield "stem_cell0", True, filters // 4
    yield "stem_cell1", True, filters // 2
    for stage in range(3):
        width = filters * 2**stage
        if stage:
            yield f"reduction_cell{stage - 1}", True, width
        for index in range(stage * blocks, (stage + 1) * blocks):
            yield f"cell{index}", False, width


def stack_cells(x, plan, descriptions, skip_reduction, strides, arguments):
    """Run the cells; return the last feature map, and the one before the last reduction.

    Args:
        x: Output of the stem.
        plan: List of what `plan_cells` gives.
        descriptions: Dict: reduces → description of the cell.
        skip_reduction: As in `NASNet`.
        strides: The network's `StrideTracker`.
        arguments: Further arguments of every cell.
    """
    previous, before_reduction, adjust = x, x, "none"
    for index, (name, reduces, width) in enumerate(plan):
        cell = NASNetCell(
            width,
            descriptions[reduces],
            reduces,
            adjust,
            cell=index,
            cells=len(plan),
            name=name,
            **arguments,
        )
        result = cell([x, previous])
        if reduces:
            before_reduction = x
            strides.next(2)
        if not (name.startswith("reduction") and skip_reduction):
            previous = x
        x = strides.record(result)
        adjust = "factorized" if reduces else "projection"
    return x, before_reduction


def stem_layers(filters, factory):
    """Convolution 3×3/2 without padding, and batch norm.

    Args:
        filters: Channels of the convolution.
        factory: The network's `LayerFactory`.
    """
    conv = Conv2D(
        filters,
        3,
        strides=2,
        use_bias=False,
        data_format=factory.data_format,
        dtype=factory.dtype,
        name="stem_conv",
    )
    return [conv, factory.norm("stem_bn")]


def auxiliary_head(x, factory, common):
    """Second classifier: average pool, and one convolution that sees the whole image.

    Args:
        x: Feature map before the last reduction cell.
        factory: The network's `LayerFactory`.
        common: The `CommonArguments`.

    Raises:
        ValueError: If the network has no top, or too small or dynamic a size.
    """
    if not common.include_top:
        raise ValueError("auxiliary=True adds a classifier: it needs include_top=True.")
    sizes = _pixels(x, factory)
    if None in sizes or min(sizes) < 5:
        raise ValueError(
            f"auxiliary=True needs a known input size that leaves 5×5 pixels or more before the "
            f"second reduction cell, which has 1 for 16 of the input; there are {sizes}. Pass a "
            f"larger input_shape."
        )
    common_arguments = {"data_format": factory.data_format, "dtype": factory.dtype}
    pool = AveragePooling2D(5, 3, name="auxiliary_pool", **common_arguments)
    x = chain(
        x,
        factory.relu("auxiliary_relu"),
        pool,
        factory.conv(128, 1, "auxiliary_conv1"),
        factory.norm("auxiliary_bn1"),
        factory.relu("auxiliary_relu1"),
    )
    whole = Conv2D(
        768, _pixels(x, factory), use_bias=False, name="auxiliary_conv2", **common_arguments
    )
    x = chain(x, whole, factory.norm("auxiliary_bn2"), factory.relu("auxiliary_relu2"))
    x = keras.layers.Flatten(factory.data_format, name="auxiliary_flatten")(x)
    return keras.layers.Dense(
        common.classes, common.classifier_activation, dtype="float32", name="auxiliary"
    )(x)


def _pixels(x, factory):
    return tuple(x.shape)[1:3] if factory.axis == -1 else tuple(x.shape)[2:]
