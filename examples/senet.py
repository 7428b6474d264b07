"""Squeeze-and-excitation: let each channel see the whole image before it speaks.

A convolution sees a few pixels at a time. Hu et al., 2018 (arXiv 1709.01507) add a gate for each
channel that looks at the mean of all channels over the whole map:

    squeeze   z = mean over height and width of x             C numbers
    excite    s = σ(W₂ · relu(W₁ · z)),   W₁: C → C/16, W₂ back
    scale     y = s · x

It can be put into any network and costs next to nothing: 2.5 million parameters and less than 1 %
of the multiply-adds of ResNet-50. Their claim: every trunk gains; ResNet-50 with it comes close
to the error of ResNet-101.

This script trains one small residual network twice, without and with the gates.

    python examples/senet.py                            # digits
    python examples/senet.py --data cifar10.zip --epochs 10

On two CPU cores the digits take about two minutes. The last lines show what the gates
have learned: a gate that is the same for all channels and images would do nothing.

One run with PyTorch reached ResNeXt: 0.992; SE-ResNeXt: 0.983 (the curves:
examples/results/senet.png).
"""

import keras
from _shared import load_images, make_recipe, parse_arguments, report

import kdl
from kdl.applications import ResNeXt, SEResNeXt50
from kdl.training import compare_models

DEPTH = (1, 1, 1, 1)


def main():
    """Trains both, then looks at the gates."""
    arguments = parse_arguments(__doc__, "senet")
    trained = []

    def with_gates(shape, classes):
        trained.append(SEResNeXt50(depth=DEPTH, input_shape=shape, classes=classes))
        return trained[-1]

    networks = {
        "ResNeXt": lambda shape, classes: ResNeXt(DEPTH, input_shape=shape, classes=classes),
        "SE-ResNeXt": with_gates,
    }
    train, test = load_images(arguments)
    title = "A small ResNeXt without and with squeeze-and-excitation"
    report(compare_models(networks, train, test, make_recipe(arguments), title), arguments.output)
    show_gates(trained[0], test[0][:32])


def show_gates(model, images):
    """Mean and spread of the gates of each stage over some test images."""
    flat = kdl.compression.flatten(model)  # the gates are layers of this graph
    for stage in range(1, 5):
        layer = flat.get_layer(f"stage{stage}_block0_se_expand")
        gates = keras.Model(flat.input, layer.output).predict(images, verbose=0)
        print(f"stage {stage}: gates {gates.mean():.2f} ± {gates.std():.2f}")


if __name__ == "__main__":
    main()
