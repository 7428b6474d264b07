"""Edge TPU: one operation that it does not take, and the rest of the network is lost to it.

Coral's documentation (TensorFlow models on the Edge TPU) makes three demands on a file. All numbers
are int8 with constant sizes. All operations stand in its table, within the limits given there. And
its compiler maps one partition only: from the first operation that the table lacks, all to the end
of the network runs on the CPU.

The tricks of mobile networks fail there. But each has an equal form in operations of the table:

    hard-swish       x · relu6(x + 3) / 6        HARD_SWISH → ADD, RELU6, MUL
    channel shuffle  y = P x, P a permutation    RESHAPE, TRANSPOSE → CONV_2D, 1×1, C² multiply-adds
    groups           y = concat(Wᵢ * xᵢ)         CONV_2D in groups → SPLIT, CONV_2D, CONCATENATION

`kdl.deploy.rewrite_for(model, "edgetpu")` puts these in, with the same weights. Quantize after it:
each new tensor needs a range of its own.

This script trains a small network with all three, exports it as int8 as it is and rewritten, and
asks `kdl.deploy.check` how much of either the Edge TPU would map.

    python examples/edge_tpu.py                         # digits
    python examples/edge_tpu.py --data cifar10.zip --epochs 10

The digits take one and a half minutes of CPU time, on two busy cores five minutes.

The Edge TPU's compiler is closed, and it was not run: what `check` says comes from the published
tables and from reports of users. Before you count on it, give the file to `edgetpu_compiler`.

One run with PyTorch: as trained, 6.9 % of the multiply-adds would be mapped, those before the first
hard-swish; rewritten, all. Their number grew from 3.22 to 4.27 million, and the accuracy of the
int8 file was 0.994 both times (the plot: examples/results/edge_tpu.png).
"""

from collections import Counter

import keras
import numpy as np
from _shared import load_images, make_recipe, parse_arguments
from keras.ops import convert_to_numpy

from kdl.compression import calibrate, fold_batch_norm
from kdl.deploy import check, export_tflite, plot_device_reports, rewrite_for, warm_converter
from kdl.layers import BatchNormalization, ChannelShuffle, Conv2D, DepthwiseConv2D, GroupedConv2D
from kdl.ops import channel_shuffle
from kdl.training import Comparison

GROUPS = 4
TITLE = "What Coral's Edge TPU would map, by its published tables"
COLUMNS = {
    "network": ("name", "{}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "million MACs": ("macs", lambda count: f"{count / 1e6:.2f}"),
    "on the device": ("share", "{:.1%}"),
    "operations": ("operations", lambda counts: str(sum(counts.values()))),
    "verdict": ("verdict", "{}"),
}


def main():
    """Trains, rewrites, and compares what would be mapped."""
    arguments = parse_arguments(__doc__, "edge_tpu")
    show_that_forms_are_equal()
    train, test = load_images(arguments)
    keras.utils.set_random_seed(0)
    model = network(train[0].shape[1:], int(train[1].max()) + 1)
    make_recipe(arguments).fit(model, train, test, verbose=2)

    # Folded first: a batch norm cannot be folded any more into a convolution that was split.
    safe, rewrites = rewrite_for(fold_batch_norm(model), "edgetpu")
    show_rewrites(rewrites, model, safe, test[0])
    rows, reports = [], {}
    with warm_converter():  # both exports start TensorFlow's converter once
        for name, exported in {"as trained": model, "rewritten": safe}.items():
            quantized, _ = calibrate(exported, train[0][:200], verbose=0)
            path = arguments.output / f"{name.replace(' ', '_')}.tflite"
            proof = export_tflite(quantized, path, "int8", verification_data=test)
            reports[name] = check(path, "edgetpu")
            reports[name].save(path.with_suffix(".html"))
            print(proof, reports[name], sep="\n", flush=True)
            rows.append(row_of(name, proof, reports[name]))
    comparison = Comparison(rows, TITLE, COLUMNS)
    print(comparison)
    comparison.save(arguments.output / "results.json")
    accuracies = {row["name"]: row["accuracy"] for row in rows}
    plot_device_reports(reports, arguments.output / "accuracy.png", accuracies, TITLE)
    print(f"Plot, files and the reports as pages: {arguments.output}")


def row_of(name, proof, report):
    """What the table shows of a file."""
    return {
        "name": name,
        "accuracy": proof.tflite_accuracy,
        "agreement": proof.top1_agreement,
        "sqnr": proof.sqnr,
        "macs": report.macs,
        "share": report.macs_share,
        "verdict": report.verdict,
        "operations": report.counts,
    }


def show_rewrites(rewrites, model, safe, images):
    """What was rewritten, how often and how exactly, and what that changes in the outputs."""
    for (kind, form, exact), count in Counter((r.kind, r.form, r.exact) for r in rewrites).items():
        print(f"{count} × {kind} → {form}: {'exact' if exact else 'not exact'}")
    outputs = [each.predict(images, verbose=0) for each in (model, safe)]
    print(f"Largest difference of the probabilities: {np.abs(outputs[0] - outputs[1]).max():.1e}")


def network(shape, classes):
    """Units of ShuffleNet, with hard-swish in place of ReLU."""
    inputs = keras.Input(shape)
    x = convolve(inputs, Conv2D(32, 3, 2, "same", use_bias=False), "hard_swish")
    for filters in (64, 128):
        x = convolve(x, Conv2D(filters, 3, 2, "same", use_bias=False), "hard_swish")
        x = unit(unit(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def unit(x):
    """`x` + 1×1 in groups → shuffle → depthwise 3×3 → 1×1 in groups."""
    filters = x.shape[-1]
    y = convolve(x, GroupedConv2D(filters, 1, groups=GROUPS, use_bias=False), "hard_swish")
    y = ChannelShuffle(GROUPS)(y)
    y = convolve(y, DepthwiseConv2D(3, padding="same", use_bias=False))
    y = convolve(y, GroupedConv2D(filters, 1, groups=GROUPS, use_bias=False))
    return keras.layers.Activation("hard_swish")(keras.layers.Add()([x, y]))


def convolve(x, layer, activation=None):
    """The layer, batch norm, and an activation if there is one."""
    x = BatchNormalization(momentum=0.9)(layer(x))
    return keras.layers.Activation(activation)(x) if activation else x


def show_that_forms_are_equal(channels=8):
    """The formulas above, on random numbers."""
    x = np.random.default_rng(0).standard_normal((1, 4, 4, channels)).astype("float32")
    clipped = np.clip(x + 3, 0, 6)
    hard_swish = convert_to_numpy(keras.activations.hard_swish(x))
    print(f"Hard-swish: largest difference {np.abs(x * clipped / 6 - hard_swish).max():.1e}")

    order = np.arange(channels).reshape(2, -1).T.ravel()
    permutation = np.eye(channels, dtype="float32")[:, order]
    shuffled = convert_to_numpy(channel_shuffle(x, 2))
    print(f"Shuffle: largest difference {np.abs(x @ permutation - shuffled).max():.1e}")


if __name__ == "__main__":
    main()
