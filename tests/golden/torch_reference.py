"""A block's sub-layers in plain PyTorch functions, to write its definition down once more."""

import keras


def operations(block):
    """`(conv, bn)`: functions of an NCHW tensor and a sub-layer's name, with the block's weights.

    `conv` pads as many pixels on each side; a kernel for one input channel is depthwise, and takes
    the block's `strides` and `dilation_rate`.
    """
    import torch
    from torch.nn import functional as F

    weights = {
        "/".join(w.path.split("/")[-2:]): torch.tensor(keras.ops.convert_to_numpy(w))
        for w in block.weights
    }

    def conv(x, name):
        kernel = weights[f"{name}/kernel"]
        if kernel.shape[-1] > 1:
            return F.conv2d(x, kernel.permute(3, 2, 0, 1))
        padding = kernel.shape[0] // 2 * block.dilation_rate
        kernel = kernel.permute(2, 3, 0, 1)
        return F.conv2d(
            x, kernel, None, block.strides, padding, block.dilation_rate, groups=len(kernel)
        )

    def bn(x, name):
        keys = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(x, *(weights[f"{name}/{key}"] for key in keys), eps=block.epsilon)

    return conv, bn


def apply(function, x):
    """Calls `function` on a channels-last array as an NCHW tensor, and gives the result back."""
    import torch

    return function(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
