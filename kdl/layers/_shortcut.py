"""The shortcut of residual blocks whose width or size changes."""


def projection(factory, filters, strides, average=False):
    """1×1 convolution with `strides` and BN, called `projection_conv` and `projection_bn`.

    Args:
        factory: The block's `LayerFactory`.
        filters: Channels of the output.
        strides: 1 or 2.
        average: Whether the mean over `strides`×`strides` tiles comes before the convolution, which
            then has no stride of its own ("ResNet-D"); tiles at the border count what is there.

    Returns:
        List of layers, to be run one after the other.
    """
    pool = []
    if average and strides > 1:
        pool, strides = [factory.ceil_average_pool(strides, "projection_pool")], 1
    return [
        *pool,
        *factory.conv(filters, 1, "projection_conv", strides),
        factory.norm("projection_bn"),
    ]
