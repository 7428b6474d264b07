"""MobileNet: depthwise separable convolutions, and one number that sets the cost.

Howard et al., 2017 (arXiv 1704.04861) split a `k×k` convolution from `M` to `N` channels on a map
of `F×F` pixels in two, a depthwise one that filters each channel alone and a 1×1 one that mixes
them:

    cost of the whole      k² · M · N · F²
    cost of the two        k² · M · F² + M · N · F²      a share of 1/N + 1/k² of it

With 3×3 kernels that is eight to nine times less. A width multiplier α then scales all channels,
and the cost by about α². Their claim: accuracy falls slowly (ImageNet top-1 70.6 % at α = 1, 68.4
% at 0.75, 63.7 % at 0.5, 50.6 % at 0.25), so the multiplier is a dial for the budget at hand.

This script counts both costs of one block, then trains the network at three settings of the dial.

    python examples/mobilenet.py                        # digits
    python examples/mobilenet.py --data cifar10.zip --epochs 10

On two CPU cores the digits take two to four minutes.

One run with PyTorch reached α = 0.25: 0.878; α = 0.5: 0.967; α = 0.75: 0.947 (the curves:
examples/results/mobilenet.png).
"""

import keras
from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import MobileNet, macs
from kdl.layers import SeparableBlock
from kdl.training import compare_models

ALPHAS = (0.25, 0.5, 0.75)


def main():
    """Counts, then turns the dial."""
    arguments = parse_arguments(__doc__, "mobilenet")
    show_the_cost_of_a_block()
    networks = {
        f"α = {alpha}": lambda shape, classes, alpha=alpha: MobileNet(
            alpha, input_shape=shape, classes=classes
        )
        for alpha in ALPHAS
    }
    train, test = load_images(arguments)
    recipe = make_recipe(arguments)
    report(
        compare_models(networks, train, test, recipe, "MobileNet: the width multiplier"),
        arguments.output,
    )


def show_the_cost_of_a_block(size=14, channels=512):
    """Multiply-adds of the separable block and of the convolution that it stands for."""
    inputs = keras.Input((size, size, channels))
    whole = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)
    separable = SeparableBlock(channels, data_format="channels_last")
    costs = [macs(keras.Model(inputs, layer(inputs))) for layer in (whole, separable)]
    print(f"3×3 convolution, {channels} channels, {size}×{size}: {costs[0]:,} multiply-adds")
    print(f"depthwise and 1×1: {costs[1]:,}, {costs[0] / costs[1]:.1f} times less")


if __name__ == "__main__":
    main()
