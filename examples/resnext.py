"""ResNeXt: more branches instead of more depth or width.

Xie et al., 2017 (arXiv 1611.05431) write a residual block as a sum of `C` equal, narrow branches,

    y = x + Σᵢ Tᵢ(x),    Tᵢ = 1×1 conv to d channels → 3×3 conv → 1×1 conv back,

and call `C` the cardinality. Their claim: at the same cost, many narrow branches are more
accurate than one wide one (table 3: ResNet-50 1×64d errs on 23.9 % of ImageNet, ResNeXt-50 32×4d
on 22.2 %). The three forms of their figure 3 compute the same function; the grouped convolution
is the fast one:

    form a   Σᵢ Wᵢ · conv(Vᵢ · x)                      one branch after the other
    form b   W · concat(conv(V₁ · x), …, conv(V_C · x))
    form c   W · grouped_conv(V · x)                   what kdl trains

This script first shows that the forms agree, then trains the same small network with one branch
of 64 channels and with 32 branches of 4 in its first stage, which cost about the same.

    python examples/resnext.py                          # digits
    python examples/resnext.py --data cifar10.zip --epochs 10

On two CPU cores the digits take about three minutes (KERAS_BACKEND=tensorflow, jax or
torch). They are too easy to tell the networks apart: what is to be seen is that both learn them,
and what each costs. The paper's difference needs ImageNet.

One run with PyTorch reached 1×64d: 0.975; 32×4d: 0.992 (the curves: examples/results/resnext.png).
"""

import numpy as np
from _shared import load_images, make_recipe, parse_arguments, report
from keras.ops import convert_to_numpy

from kdl.applications import ResNeXt
from kdl.layers import ResNeXtBlock
from kdl.training import compare_models

DEPTH = (1, 1, 1, 1)  # blocks in each stage; the paper's networks have (3, 4, 6, 3) or more


def main():
    """Compares the forms, then the cardinalities."""
    arguments = parse_arguments(__doc__, "resnext")
    show_that_forms_agree()
    networks = {
        f"{cardinality}×{width}d": lambda shape, classes, c=cardinality, w=width: ResNeXt(
            DEPTH, cardinality=c, base_width=w, input_shape=shape, classes=classes
        )
        for cardinality, width in ((1, 64), (32, 4))
    }
    train, test = load_images(arguments)
    title = "ResNeXt: one wide branch or 32 narrow ones"
    report(compare_models(networks, train, test, make_recipe(arguments), title), arguments.output)


def show_that_forms_agree():
    """The same weights, dealt out to the three forms, give the same outputs."""
    x = np.random.default_rng(0).standard_normal((1, 14, 14, 64)).astype("float32")
    block = ResNeXtBlock(256, cardinality=32, width=4, data_format="channels_last")
    block.build(x.shape)
    outputs = {form: convert_to_numpy(block.in_form(form)(x)) for form in "abc"}
    for form in "ab":
        difference = np.abs(outputs[form] - outputs["c"]).max()
        print(f"Largest difference between form {form} and form c: {difference:.1e}")


if __name__ == "__main__":
    main()
