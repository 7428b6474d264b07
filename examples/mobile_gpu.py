"""Mobile GPU: a convolution in groups that is computed wrong, and the same one computed right.

ResNeXt (Xie et al., 2017, arXiv 1611.05431) convolves in groups, with few channels in each:

    y = concat(W₁ * x₁, …, W_g * x_g),    x = concat(x₁, …, x_g)

A `.tflite` file holds that as one CONV_2D, fast on a CPU. LiteRT's accelerator for mobile
GPUs, measured on a software driver, computes right where 4 divides the channels of a group. With 2
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

On two CPU cores the digits take one to two minutes. One run with PyTorch and SwiftShader: the
file with the grouped convolutions as they are ended the accelerator's process; the other two ran
there, within 2e-6 of the CPU's outputs. All had the accuracy 0.992 on the CPU; 2.89
million multiply-adds became 3.44 million (the plot: examples/results/mobile_gpu.png).
"""

from collections import Counter

import keras
import numpy as np
from _shared import load_images, make_recipe, parse_arguments

from kdl.deploy import check, export_tflite, plot_device_reports, rewrite_for, warm_converter
from kdl.layers import BatchNormalization, Conv2D, GroupedConv2D
from kdl.training import Comparison

GROUPS = 32
WIDTHS = (2, 4, 6)  # channels of a group, for each stage: wrong, right, and the end of the process
TITLE = "What LiteRT's accelerator for mobile GPUs runs"
COLUMNS = {
    "network": ("name", "{}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "million MACs": ("macs", lambda count: f"{count / 1e6:.2f}"),
    "on the device": ("share", "{:.1%}"),
    "operations": ("operations", lambda counts: str(sum(counts.values()))),
    "verdict": ("verdict", "{}"),
    "real run": ("run", "{}"),
}


def main():
    """Trains, rewrites, and compares what a GPU runs."""
    arguments = parse_arguments(__doc__, "mobile_gpu")
    train, test = load_images(arguments)
    shape, classes = train[0].shape[1:], int(train[1].max()) + 1
    keras.utils.set_random_seed(0)
    # On TensorFlow and JAX the gradient of Keras's own is a hundred times slower.
    trained = network(shape, classes, GroupedConv2D)
    make_recipe(arguments).fit(trained, train, test, verbose=2)
    plain = network(shape, classes, keras.layers.Conv2D)
    plain.set_weights(trained.get_weights())  # both lay out their kernels alike

    safe, rewrites = rewrite_for(plain, "gpu")
    show_rewrites(rewrites, plain, safe, test[0])
    networks = {"Conv2D(groups)": plain, "rewritten": safe, "GroupedConv2D": trained}
    rows, reports = [], {}
    with warm_converter():  # the three exports start TensorFlow's converter once
        for name, model in networks.items():
            path = arguments.output / f"{name.split('(')[0].lower()}.tflite"
            proof = export_tflite(model, path, "float16", verification_data=test)
            reports[name] = judge(path)
            reports[name].save(path.with_suffix(".html"))
            print(proof, reports[name], sep="\n", flush=True)
            rows.append(row_of(name, proof, reports[name]))
    comparison = Comparison(rows, TITLE, COLUMNS)
    print(comparison)
    comparison.save(arguments.output / "results.json")
    accuracies = {row["name"]: row["accuracy"] for row in rows}
    plot_device_reports(reports, arguments.output / "accuracy.png", accuracies, TITLE)
    print(f"Plot, files and the reports as pages: {arguments.output}")


def judge(path):
    """`check`, with a real run on a GPU where this machine has a driver for it."""
    try:
        return check(path, "gpu", run=True)
    except OSError as error:
        print(f"Judged by the tables alone: {error}")
        return check(path, "gpu")


def row_of(name, proof, report):
    """What the table shows of a file."""
    return {
        "name": name,
        "accuracy": proof.tflite_accuracy,
        "macs": report.macs,
        "share": report.macs_share,
        "verdict": report.verdict,
        "operations": report.counts,
        "run": report.run and report.run.outcome,
        "relative_error": report.run and report.run.relative_error,
    }


def show_rewrites(rewrites, model, safe, images):
    """What was rewritten, how often and how exactly, and what that changes in the outputs."""
    for (kind, form, exact), count in Counter((r.kind, r.form, r.exact) for r in rewrites).items():
        print(f"{count} × {kind} → {form}: {'exact' if exact else 'not exact'}")
    outputs = [each.predict(images, verbose=0) for each in (model, safe)]
    print(f"Largest difference of the probabilities: {np.abs(outputs[0] - outputs[1]).max():.1e}")


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
