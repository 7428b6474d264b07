"""Facts about operations that the quantization passes share."""

# Layers whose kernel is quantized.
WEIGHTED = ("Conv2D", "GroupedConv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense")

# The least float32 above 1: a product by it changes nothing, and converters do not take it out.
ALMOST_ONE = 1 + 2**-23


def is_number(x):
    """Tell if `x` is a Python number."""
    return isinstance(x, int | float) and not isinstance(x, bool)
