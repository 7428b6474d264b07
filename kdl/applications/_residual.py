"""Skeleton of ResNet and its descendants: a stem and four stages of blocks."""

from kdl._checks import check_choice, check_integer, is_integer
from kdl.applications._common import chain

# Depth → blocks in each of the four stages.
REPEATS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# Width of each stage; the blocks give four times as many channels.
PLANES = (64, 128, 256, 512)


def stem(x, widths, factory, strides):
    """A 7×7 convolution with stride 2, or for several `widths` as many 3×3 ones; BN, ReLU each.

    Args:
        x: The image.
        widths: Channels of each convolution.
        factory: The network's `LayerFactory`.
        strides: The network's `StrideTracker`.
    """
    for index, filters in enumerate(widths, start=1):
        prefix = "stem" if len(widths) == 1 else f"stem{index}"
        conv = factory.conv(
            filters,
            7 if len(widths) == 1 else 3,
            f"{prefix}_conv",
            strides.next(2)[0] if index == 1 else 1,
        )
        x = chain(x, conv, factory.norm(f"{prefix}_bn"), factory.relu(f"{prefix}_relu"))
    return strides.record(x)


def stages(x, repeats, block, strides):
    """Four stages of blocks; all but the first halve the size in their first block.

    Args:
        x: What the stem gives.
        repeats: Number of blocks in each stage.
        block: Called with stage (0…3), index in the stage, strides, dilation rate and name;
            returns the layer.
        strides: The network's `StrideTracker`.
    """
    for stage, count in enumerate(repeats):
        for index in range(count):
            step, dilation = strides.next(2 if stage > 0 and index == 0 else 1)
            x = block(stage, index, step, dilation, f"stage{stage + 1}_block{index}")(x)
            strides.record(x)
    return x


def outer_names(deep):
    """Names of stem, shortcuts and classifier in the PyTorch code of ResNet's descendants.

    Args:
        deep: True if three convolutions make the stem and shortcuts halve the size by averaging,
            which is a module of its own.
    """
    names = {"stem_conv": "conv1", "stem_bn": "bn1"}
    if deep:
        names = {
            "stem1_conv": "conv1.0",
            "stem1_bn": "conv1.1",
            "stem2_conv": "conv1.3",
            "stem2_bn": "conv1.4",
            "stem3_conv": "conv1.6",
            "stem3_bn": "bn1",
        }
    conv, bn = ("1", "2") if deep else ("0", "1")
    block, downsample = "stage{stage}_block{block}", "layer{stage}.{block}.downsample"
    names[f"{block}/projection_conv"] = f"{downsample}.{conv}"
    names[f"{block}/projection_bn"] = f"{downsample}.{bn}"
    return names | {"classifier": "fc"}


def depth_name(depth):
    """A depth as part of a model's name: `"50"`, or `"2_2_2_2"` for the blocks of the stages."""
    return str(depth) if is_integer(depth) else "_".join(map(str, depth))


def checked_depth(depth):
    """The depth as plain data, and the blocks of the four stages.

    Args:
        depth: 50, 101, 152, or a sequence of four positive integers.

    Returns:
        `(depth, repeats)`: an `int` and a tuple, or twice the same tuple.

    Raises:
        ValueError: If it is anything else.
    """
    if is_integer(depth):
        check_choice("depth", depth, tuple(REPEATS))
        return int(depth), REPEATS[depth]
    if len(depth) != 4:
        raise ValueError(f"depth must be one of {tuple(REPEATS)} or four numbers: {depth}.")
    repeats = tuple(check_integer("the number of blocks in a stage", count) for count in depth)
    return repeats, repeats
