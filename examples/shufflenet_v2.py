"""ShuffleNet V2: count milliseconds, not multiply-adds.

Ma et al., 2018 (arXiv 1807.11164) measured networks of equal cost on phones and found that their
speed differs, since memory traffic counts too. Two of their four guidelines say: a 1×1
convolution moves least memory when it has as many channels in as out, and grouped convolutions
move more. With `c₁` and `c₂` channels on a map of `h×w` pixels its traffic is

    MAC = h·w·(c₁ + c₂) + c₁·c₂  ≥  2·√(h·w·B) + B / (h·w),    B = h·w·c₁·c₂ multiply-adds,

with equality for `c₁ = c₂`. So their unit splits the channels instead: one half passes, the other
is convolved with equal widths throughout, and a shuffle of the two halves ends it,

    y = shuffle(concat(x₁, pointwise(depthwise(pointwise(x₂))))).

This script checks the inequality, then trains the smallest ShuffleNet V2 beside the ShuffleNet V1
of about the same cost.

    python examples/shufflenet_v2.py                    # digits
    python examples/shufflenet_v2.py --data cifar10.zip --epochs 10

On two CPU cores the digits take about three minutes. `examples/quickstart.py` takes this
network on to a proven int8 file.

One run with PyTorch reached V1 0.5×, g = 3: 0.958; V2 0.5×: 0.942 (the curves:
examples/results/shufflenet_v2.png).
"""

from math import sqrt

from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import ShuffleNet, ShuffleNetV2
from kdl.training import compare_models


def main():
    """Checks guideline 1, then trains both generations."""
    arguments = parse_arguments(__doc__, "shufflenet_v2")
    show_guideline_1()
    networks = {
        "V1 0.5×, g = 3": lambda shape, classes: ShuffleNet(
            0.5, groups=3, input_shape=shape, classes=classes
        ),
        "V2 0.5×": lambda shape, classes: ShuffleNetV2(0.5, input_shape=shape, classes=classes),
    }
    train, test = load_images(arguments)
    title = "ShuffleNet, two generations at 40 million multiply-adds (224²)"
    report(compare_models(networks, train, test, make_recipe(arguments), title), arguments.output)


def show_guideline_1(pixels=28 * 28):
    """Memory traffic of 1×1 convolutions of equal cost and unequal widths."""
    for first, second in ((128, 128), (64, 256), (32, 512), (16, 1024)):
        cost = pixels * first * second
        traffic = pixels * (first + second) + first * second
        least = 2 * sqrt(pixels * cost) + cost / pixels
        print(
            f"{first:4d} → {second:4d} channels: {cost:,} multiply-adds, {traffic:,} numbers moved "
            f"({traffic / least:.2f} times the least)"
        )


if __name__ == "__main__":
    main()
