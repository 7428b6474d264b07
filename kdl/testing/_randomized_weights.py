"""Weights under which an untrained network behaves like a trained one."""

import numpy as np

from kdl.testing import _checks

# Last batch norms of residual branches.
_ENDS = ("bn3/gamma", "project_bn/gamma")
# The deep ShuffleNets V2 add their input, as the others do not.
_DEEP = ("shufflenet_v2_50", "shufflenet_v2_164")


def randomize_weights(model, seed=0):
    """Gives a network weights like those of the golden files.

    Networks with Keras's initial weights die out; with batch norms run on data they are chaotic
    while untrained, and magnify rounding a thousandfold.

    Args:
        model: A network of `kdl.applications`.
        seed: Integer.
    """
    ends = (*_ENDS, "pointwise2_bn/gamma") if model.name.endswith(_DEEP) else _ENDS
    rng = np.random.default_rng(seed)
    for weight in filter(_checks.is_float, model.weights):
        shape = tuple(weight.shape)
        if len(shape) > 1:
            depthwise = shape[-1] == 1 and len(shape) == 4
            fan_in = np.prod(shape[:2] if depthwise else shape[:-1])
            weight.assign(rng.standard_normal(shape) * np.sqrt(2 / fan_in))
        elif weight.name in ("gamma", "moving_variance"):
            low_and_high = (0.1, 0.3) if weight.path.endswith(ends) else (0.8, 1.2)
            weight.assign(rng.uniform(*low_and_high, shape))
        elif weight.name in ("beta", "moving_mean", "bias"):
            weight.assign(0.1 * rng.standard_normal(shape))
