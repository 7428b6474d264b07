"""SCNet: half of the channels look at a smaller copy of the map to calibrate the other look.

Liu et al., 2020 (CVPR) replace the 3×3 convolution of a bottleneck by two halves. One stays a
convolution; the other calibrates itself by what a coarse view of the same map shows, four times
smaller, so that each pixel sees far beyond its 3×3 neighborhood:

    T  = average of 4×4 tiles of X
    X′ = upsample(K₂ ∗ T)                    the coarse view, back at full size
    Y  = K₄ ∗ ((K₃ ∗ X) · σ(X + X′))         the fine view, gated

There are as many parameters as before. Their claim: the same trunk is more accurate at the same
cost; the released SCNet-50 reaches 77.8 % on ImageNet.

This script trains a small network of plain bottlenecks beside one of self-calibrated ones.

    python examples/scnet.py                            # digits
    python examples/scnet.py --data cifar10.zip --epochs 10

On two CPU cores the digits take about two minutes.

One run with PyTorch reached plain: 0.992; self-calibrated: 0.992 (the curves:
examples/results/scnet.png).
"""

from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import ResNeXt, SCNet
from kdl.training import compare_models

DEPTH = (1, 1, 1, 1)


def main():
    """Trains both."""
    arguments = parse_arguments(__doc__, "scnet", size=48)
    networks = {
        "plain": lambda shape, classes: ResNeXt(
            DEPTH, cardinality=1, base_width=64, input_shape=shape, classes=classes
        ),
        "self-calibrated": lambda shape, classes: SCNet(DEPTH, input_shape=shape, classes=classes),
    }
    train, test = load_images(arguments)
    title = "Bottlenecks, plain and self-calibrated"
    report(compare_models(networks, train, test, make_recipe(arguments), title), arguments.output)


if __name__ == "__main__":
    main()
