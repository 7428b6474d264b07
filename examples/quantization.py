"""Quantization-aware training: let the network feel the rounding of its int8 file.

Jacob et al., 2018 (arXiv 1712.05877) compute with integers q that stand for real numbers r,

    r = S (q − Z),    S = (high − low) / (2^bits − 1),    Z = round(−low / S),

so that a convolution is sums of products of 8-bit integers. A network that was trained in float may
lose by the rounding. Their cure is to round in training already: forward, each tensor takes the
value of its nearest q ("fake quantization"); backward, the gradient passes as if nothing had been
rounded. What is rounded must be what the file holds, so batch norm goes into the weights first,

    w' = w · γ / √(v + ε),    b' = β − μ · γ / √(v + ε).

Their claim: with 8 bits ResNets stay within 2 % of their accuracy in float, and MobileNets run
faster on a phone than float networks that are as accurate. With fewer bits weights suffer more than
activations. (Files of today have Z = 0 for weights, and an S for each channel of a kernel.)

This script trains MobileNet in float. For weights of 8, 4 and 3 bits (activations keep 8) it then
rounds it as it is (`calibrate`) and rounds and trains it (`quantize_aware`). The 8-bit ones become
int8 files, without data, since the models know all ranges. Fewer bits are a simulation: TFLite
stores these weights as int8. What was trained has also seen more epochs than the float network:
compare it with what was only rounded at the same bits, where that has fallen.

    python examples/quantization.py                     # digits
    python examples/quantization.py --data cifar10.zip --epochs 10

The digits take three minutes of CPU time, on two busy cores eight minutes. One run with
PyTorch (the plot: examples/results/quantization.png):

    weights           float     8 bits    4 bits    3 bits
    rounded           0.958     0.958     0.928     0.450
    and trained                 0.953     0.933     0.903

At 8 bits there was nothing to win back; at 3 bits most was won. The int8 files named the same class
as their models on all 360 test digits, in 969 KiB instead of 3,218. On such small images the
latencies, 0.1 to 0.2 ms, tell nothing: other work disturbed them more than they differ.
"""

import keras
import numpy as np
from _shared import load_images, make_recipe, parse_arguments
from keras.ops import convert_to_numpy
from matplotlib.figure import Figure

from kdl.applications import MobileNet, macs
from kdl.compression import calibrate, flatten, fold_batch_norm, quantize_aware, round_biases
from kdl.deploy import export_tflite, measure_latency, read_tflite, warm_converter
from kdl.ops import fake_quantize
from kdl.training import Comparison

BITS = (8, 4, 3)
COLUMNS = {
    "weights": ("name", "{}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "of the file": ("file_accuracy", "{:.4f}"),
    "agree": ("agreement", "{:.1%}"),
    "SQNR": ("sqnr", "{:.1f}"),
    "KiB": ("kib", "{:.0f}"),
    "ms": ("ms", "{:.3f}"),
}


def main():
    """Trains in float, rounds in both ways, exports."""
    arguments = parse_arguments(__doc__, "quantization")
    show_the_formula()
    train, test = load_images(arguments)
    keras.utils.set_random_seed(0)
    model = MobileNet(0.5, input_shape=train[0].shape[1:], classes=int(train[1].max()) + 1)
    make_recipe(arguments).fit(model, train, test, verbose=2)
    show_that_folding_changes_nothing(model, test[0])

    rows = [row_of("float", model, test)]
    networks = {"float": (model, "float32")}
    # Training goes on, so it takes a part of the epochs and small steps.
    further = make_recipe(arguments, epochs=max(arguments.epochs // 3, 1), learning_rate=0.001)
    for bits in BITS[:1] if arguments.smoke else BITS:
        for method, rounded in (
            ("rounded", round_only(model, train, bits)),
            ("trained", round_and_train(model, train, test, bits, further)),
        ):
            name = f"{bits} bits, {method}"
            rows.append({**row_of(name, rounded, test), "bits": bits, "method": method})
            if bits == 8:
                networks[name] = rounded, "int8"

    export_all(rows, networks, arguments.output, test)
    title = "MobileNet with rounded weights and 8-bit activations"
    comparison = Comparison(rows, title, COLUMNS)
    print(comparison)
    comparison.save(arguments.output / "results.json")
    plot(rows, arguments.output / "accuracy.png")
    print(f"Plot and files: {arguments.output}")


def round_only(model, train, bits):
    """The network with the ranges that its activations have on 200 images."""
    rounded, report = calibrate(model, train[0][:200], weight_bits=bits, verbose=0)
    print(f"{bits} bits: {report}")
    return rounded


def round_and_train(model, train, test, bits, recipe):
    """The same, trained further; the ranges follow the batches."""
    rounded, _ = quantize_aware(model, train[0][:200], weight_bits=bits, momentum=0.9, verbose=0)
    recipe.fit(rounded, train, test, verbose=2)
    round_biases(rounded)  # training has moved them
    return rounded


def row_of(name, model, test):
    """Name, accuracy and multiply-adds of a network."""
    classes = model.predict(test[0], verbose=0).argmax(-1)
    return {"name": name, "accuracy": float(np.mean(classes == test[1])), "macs": macs(model)}


def export_all(rows, networks, folder, test):
    """Adds to the rows what their files are; no data is given to measure ranges on."""
    with warm_converter():  # the three exports start TensorFlow's converter once
        for row in rows:
            if row["name"] in networks:
                model, quantization = networks[row["name"]]
                path = folder / f"{row['name'].replace(', ', '_').replace(' ', '_')}.tflite"
                proof = export_tflite(model, path, quantization, verification_data=test)
                print(proof)
                row["file_accuracy"] = proof.tflite_accuracy
                row["agreement"] = proof.top1_agreement
                row["sqnr"] = proof.sqnr
                row["kib"] = read_tflite(path).size / 1024
                row["ms"] = measure_latency(path, runs=300).median


def show_the_formula(low=-1.0, high=3.0, bits=8):
    """`fake_quantize` is the formula above, there and back."""
    r = np.random.default_rng(0).uniform(-2, 4, 1000).astype("float32")
    scale = (high - low) / (2**bits - 1)
    zero = np.round(-low / scale)
    q = np.clip(np.round(r / scale) + zero, 0, 2**bits - 1)
    difference = np.abs(scale * (q - zero) - convert_to_numpy(fake_quantize(r, low, high, bits)))
    print(f"S = {scale:.5f}, Z = {zero:.0f}; largest difference from fake_quantize:", end=" ")
    print(f"{difference.max():.1e}")


def show_that_folding_changes_nothing(model, images):
    """In float, the folded network is the same function."""
    folded = fold_batch_norm(model)
    norms = [
        sum(isinstance(layer, keras.layers.BatchNormalization) for layer in each.layers)
        for each in (flatten(model), folded)
    ]
    outputs = [each.predict(images, verbose=0) for each in (model, folded)]
    print(
        f"Batch norms: {norms[0]} → {norms[1]}; largest difference of the probabilities:", end=" "
    )
    print(f"{np.abs(outputs[0] - outputs[1]).max():.1e}")


def plot(rows, path):
    """Accuracy over the bits; size and latency of the files."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    left.axhline(rows[0]["accuracy"], color="#8c8c8c", linestyle="--", label="float")
    for method, color in (("rounded", "#c44e52"), ("trained", "#55a868")):
        mine = [row for row in rows if row.get("method") == method]
        accuracies = [row["accuracy"] for row in mine]
        left.plot([str(row["bits"]) for row in mine], accuracies, "o-", color=color, label=method)
    left.set_xlabel("bits of a weight")
    left.set_title("test accuracy")
    left.grid(alpha=0.3)
    left.legend()
    files = [row for row in rows if "kib" in row]
    for axes, (key, form, title) in zip(
        (middle, right),
        (("kib", "{:.0f}", "file, KiB"), ("ms", "{:.3f}", "latency, ms")),
        strict=True,
    ):
        values = [row[key] for row in files]
        bars = axes.barh([row["name"] for row in files], values, color="#4c72b0")
        axes.bar_label(bars, [form.format(value) for value in values], padding=3)
        axes.set_xlim(0, 1.4 * max(values))
        axes.invert_yaxis()
        axes.set_title(title)
    right.set_yticklabels([])
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
