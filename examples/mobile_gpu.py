"""Mobile GPU: a convolution in groups that is computed wrong, and the same one computed right.

ResNeXt (Xie et al., 2017, arXiv 1611.05431) convolves in groups, with few channels in each:

    y = concat(W₁ * x₁, …, W_g * x_g),    x = concat(x₁, …, x_g)

A `.tflite` file holds that as one CONV_2D, fast on a processor. LiteRT's accelerator for mobile
GPUs, measured on a software driver, answers right where 4 divides the channels of a group. With 2
it runs and is wrong, with 6 its process dies; whether accelerator or driver is at fault was not to
be told. `kdl.deploy.check` knows this from its tables, and runs the file where there is a Vulkan
driver. `rewrite_for(model, "gpu")` splits such convolutions and keeps the weights: several
CONV_2Ds, with zeros between groups that are too narrow for a call each,

    W = diag(W₁, …, W₈),    y = concat(W * concat(x₁, …, x₈), …)

A small network is exported three times in float16, the form for GPUs: with the grouped convolution
of Keras, rewritten, and with kdl's `GroupedConv2D`, which exports what the GPU takes by itself.

    python examples/mobile_gpu.py                       # digits
    python examples/mobile_gpu.py --data cifar10.zip --epochs 10

Without a GPU, SwiftShader (of Debian's package `chromium-common`) is a driver in software; let
VK_ICD_FILENAMES name its .json file. It proves what is computed, not how fast.

On two processor cores the digits take one to two minutes. One run with PyTorch and SwiftShader: the
file with the grouped convolutions as they are ended the accelerator's process; the other two ran
there, within 2e-6 of the processor's answers. All had the accuracy 0.992 on the processor; 2.89
million multiply-adds became 3.44 million (the plot: examples/results/mobile_gpu.png).
"""

import keras
from _device import export_and_check, show, show_rewrites
from _study import fit, parse_arguments, read_data

from kdl.deploy import rewrite_for, warm_converter
from kdl.layers import BatchNormalization, Conv2D, GroupedConv2D

GROUPS = 32
WIDTHS = (2, 4, 6)  # channels of a group, for each stage: wrong, right, and the end of the process


def main():
    """Trains, rewrites, and compares what a GPU runs."""
    arguments = parse_arguments(__doc__, "mobile_gpu")
    arguments.output.mkdir(parents=True, exist_ok=True)
    train, test, classes = read_data(arguments)
    shape = train[0].shape[1:]
    keras.utils.set_random_seed(0)
    # On TensorFlow and JAX the gradient of Keras's own is a hundred times slower.
    trained = network(shape, classes, GroupedConv2D)
    fit(trained, train, test, arguments)
    plain = network(shape, classes, keras.layers.Conv2D)
    plain.set_weights(trained.get_weights())  # both lay out their kernels alike

    safe, rewrites = rewrite_for(plain, "gpu")
    show_rewrites(rewrites, plain, safe, test[0])

    networks = {"Conv2D(groups)": plain, "rewritten": safe, "GroupedConv2D": trained}
    rows = []
    with warm_converter():  # the three exports start TensorFlow's converter once
        for name, model in networks.items():
            path = arguments.output / f"{name.split('(')[0].lower()}.tflite"
            rows.append(export_and_check(name, model, path, "float16", "gpu", test))
    show(rows, "What LiteRT's accelerator for mobile GPUs runs", arguments.output)


def network(shape, classes, grouped):
    """A stem and a block of ResNeXt for each of the widths."""
    inputs = keras.Input(shape)
    x = convolve(inputs, Conv2D(32, 3, 2, "same", use_bias=False))
    for width in WIDTHS:
        x = block(x, grouped, GROUPS * width)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def block(x, grouped, filters):
    """1×1 → 3×3 in groups, on every other pixel → 1×1, and a 1×1 convolution past them."""
    past = convolve(x, Conv2D(filters, 1, 2, use_bias=False), None)
    in_groups = grouped(filters, 3, groups=GROUPS, strides=2, padding="same", use_bias=False)
    y = convolve(convolve(x, Conv2D(filters, 1, use_bias=False)), in_groups)
    y = convolve(y, Conv2D(filters, 1, use_bias=False), None)
    return keras.layers.ReLU()(keras.layers.Add()([past, y]))


def convolve(x, layer, activation="relu"):
    """The layer, batch norm, and an activation if there is one."""
    x = BatchNormalization(momentum=0.9)(layer(x))
    return keras.layers.Activation(activation)(x) if activation else x


if __name__ == "__main__":
    main()
