"""Res2Net: many scales inside one block.

Gao et al., 2019 (arXiv 1904.01169) cut the channels inside a bottleneck into `s` parts and
convolve one after the other, each with the result of the one before added to it:

    y₁ = K₁ ∗ x₁,    yᵢ = Kᵢ ∗ (xᵢ + yᵢ₋₁),    y_s = x_s

So the last convolved part has gone through `s − 1` convolutions of 3×3, the first through one,
and a single block holds receptive fields of 3, 5, 7 … pixels. Their claim: at the same cost more
scales are more accurate. The released networks of 50 layers reach 77.3 % on ImageNet with s = 2
parts of 48 channels, 78.0 % with 4 of 26 and 78.1 % with 8 of 14.

This script prints the receptive fields, then trains a small network at three scales of equal
cost.

    python examples/res2net.py                          # digits
    python examples/res2net.py --data cifar10.zip --epochs 10

On two CPU cores the digits take about five minutes.

One run with PyTorch reached 48w×2s: 0.989; 26w×4s: 0.994; 14w×8s: 0.992 (the curves:
examples/results/res2net.png).
"""

from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import Res2Net
from kdl.training import compare_models

DEPTH = (1, 2, 2, 1)  # the first block of a stage has no additions: the second one shows them
SETTINGS = ((48, 2), (26, 4), (14, 8))  # width of a part in the first stage, number of parts


def main():
    """Prints, then trains."""
    arguments = parse_arguments(__doc__, "res2net")
    networks = {}
    for width, scale in SETTINGS:
        fields = ", ".join(str(1 + 2 * i) for i in range(1, scale))
        print(f"{scale} parts: receptive fields of 1, {fields} pixels in one block")
        networks[f"{width}w×{scale}s"] = lambda shape, classes, w=width, s=scale: Res2Net(
            DEPTH, w, s, input_shape=shape, classes=classes
        )
    train, test = load_images(arguments)
    recipe = make_recipe(arguments)
    report(
        compare_models(networks, train, test, recipe, "Res2Net: scales at equal cost"),
        arguments.output,
    )


if __name__ == "__main__":
    main()
