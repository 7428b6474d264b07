"""SqueezeNet: AlexNet's accuracy with fifty times fewer parameters.

Iandola et al., 2016 (arXiv 1602.07360) save parameters in three ways: 1×1 in place of 3×3
kernels, few channels in front of the 3×3 ones that remain, and late pooling. Their fire module
squeezes to `s` channels and expands again, half of it by cheap kernels:

    z = relu(S · x)                              c → s channels, 1×1
    y = concat(relu(E₁ · z), relu(E₃ ∗ z))       s → e₁ by 1×1, s → e₃ by 3×3

which has `c·s + s·e₁ + 9·s·e₃` weights instead of `9·c·(e₁ + e₃)`. There is no batch norm and no
dense layer. Section 6 adds shortcuts around the modules: simple ones where the widths agree,
which cost nothing and gave the best accuracy, and 1×1 convolutions elsewhere ("complex").

This script counts the weights of one module, then trains version 1.1 plain and with both kinds of
shortcut.

    python examples/squeezenet.py                       # digits
    python examples/squeezenet.py --data cifar10.zip --epochs 10

On two CPU cores the digits take one to four minutes. Without batch norm the network needs a
small learning rate and some patience.

One run with PyTorch reached 0.969 without bypass, 0.867 with simple, 0.475 with complex ones (the
curves: examples/results/squeezenet.png).
"""

import math

from _shared import load_images, make_recipe, parse_arguments, report

from kdl.applications import SqueezeNet
from kdl.layers import FireModule
from kdl.training import compare_models

SQUEEZE, EXPAND, CHANNELS = 16, 64, 128  # fire3


def main():
    """Counts, then trains."""
    arguments = parse_arguments(__doc__, "squeezenet", size=48, epochs=12, learning_rate=0.0005)
    module = FireModule(SQUEEZE, EXPAND, EXPAND, data_format="channels_last")
    module.build((None, 55, 55, CHANNELS))
    weights = sum(math.prod(w.shape) for w in module.weights if len(w.shape) == 4)
    plain = 9 * CHANNELS * 2 * EXPAND
    print(f"fire3: {weights:,} weights; a 3×3 convolution of its width has {plain:,}")
    networks = {
        f"bypass: {bypass or 'none'}": lambda shape, classes, bypass=bypass: SqueezeNet(
            "1.1", bypass, input_shape=shape, classes=classes
        )
        for bypass in (None, "simple", "complex")
    }
    train, test = load_images(arguments)
    recipe = make_recipe(arguments)
    report(
        compare_models(networks, train, test, recipe, "SqueezeNet 1.1 and its shortcuts"),
        arguments.output,
    )


if __name__ == "__main__":
    main()
