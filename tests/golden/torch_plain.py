"""The sub-layers of a block or model in plain PyTorch functions, called by name."""

import keras
import numpy as np


def randomize(block, seed=0):
    """Gives all weights of a built block random values, so that no batch norm is the identity."""
    rng = np.random.default_rng(seed)
    for weight in block.weights:
        shape = tuple(weight.shape)
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        else:
            scale = 0.2 if len(shape) == 1 else np.sqrt(2.0 / np.prod(shape[:-1]))
            weight.assign(scale * rng.standard_normal(shape))
    return block


def operations(block, epsilon=1e-5):
    """`(conv, bn)`: functions of an NCHW tensor and a layer's name, with the weights of `block`.

    `conv` pads as many pixels on each side as keep the size at stride 1; with `depthwise=True` each
    channel has a kernel of its own.
    """
    import torch
    from torch.nn import functional as F

    weights = {
        "/".join(w.path.split("/")[-2:]): torch.tensor(keras.ops.convert_to_numpy(w))
        for w in block.weights
    }

    def conv(x, name, stride=1, dilation=1, groups=1, depthwise=False):
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        if depthwise:
            kernel, groups = kernel.transpose(0, 1), kernel.shape[1]
        padding = kernel.shape[-1] // 2 * dilation
        return F.conv2d(x, kernel, None, stride, padding, dilation, groups)

    def bn(x, name):
        keys = ("moving_mean", "moving_variance", "gamma", "beta")
        return F.batch_norm(x, *(weights[f"{name}/{key}"] for key in keys), eps=epsilon)

    return conv, bn


def apply(function, x):
    """Calls `function` on a channels-last array as an NCHW tensor, and gives the result back."""
    import torch

    return function(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
