"""MobileNet V2: wide inside, narrow between, and no ReLU where it is narrow.

Sandler et al., 2018 (arXiv 1801.04381) turn the residual bottleneck inside out. A block takes few
channels, expands them `t` times, filters each alone and projects back to few:

    y = x + P · relu6(D ∗ relu6(E · x)),    E: c → t·c,  D: depthwise 3×3,  P: t·c → c

The projection `P` has no ReLU after it. Their argument: ReLU throws information away, and where
the channels are few there are none to spare (section 3.2). The narrow maps between the blocks are
what a device has to keep in memory.

This script sends points of a plane through a ReLU in 2 to 30 dimensions and tells how well the
best linear map brings them back (after figure 1 of the paper), then trains the network at three
widths.

    python examples/mobilenet_v2.py                     # digits
    python examples/mobilenet_v2.py --data cifar10.zip --epochs 10

On two CPU cores the digits take two to four minutes.

One run with PyTorch reached α = 0.35: 0.875; α = 0.5: 0.950; α = 0.75: 0.969 (the curves:
examples/results/mobilenet_v2.png).
"""

import numpy as np
from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import MobileNetV2
from kdl.training import compare_models

ALPHAS = (0.35, 0.5, 0.75)


def main():
    """Shows the loss of a ReLU, then trains."""
    arguments = parse_arguments(__doc__, "mobilenet_v2")
    show_what_relu_loses()
    networks = {
        f"α = {alpha}": lambda shape, classes, alpha=alpha: MobileNetV2(
            alpha, input_shape=shape, classes=classes
        )
        for alpha in ALPHAS
    }
    train, test = load_images(arguments)
    recipe = make_recipe(arguments)
    report(
        compare_models(networks, train, test, recipe, "MobileNet V2: the width multiplier"),
        arguments.output,
    )


def show_what_relu_loses(points=2000):
    """How far from `x` the best linear map of `relu(T · x)` stays, relative to `x`."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((points, 2))
    for dimensions in (2, 3, 5, 15, 30):
        transform = rng.standard_normal((2, dimensions))
        seen = np.maximum(x @ transform, 0)
        back, *_ = np.linalg.lstsq(seen, x, rcond=None)
        error = np.linalg.norm(seen @ back - x) / np.linalg.norm(x)
        print(f"ReLU in {dimensions:2d} dimensions: the way back misses by {error:.0%}")


if __name__ == "__main__":
    main()
