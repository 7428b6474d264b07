"""Networks on the digits as int8 files: calibrated, trained with their rounding, and by TF-MOT.

    python -m benchmarks quantization

Each network is trained in floating point for 20 epochs or more, once. On each backend it is then
made into an int8 file twice: by `calibrate`, without training, and by `quantize_aware`, 3 epochs
and `round_biases`; and once by `tfmot.quantize` and 3 epochs. A file is compared with the model
that rounds as it does, on the logits of 360 test images, and its accuracy with that of the float
network. What is finished is kept in `benchmarks/results/quantization.json`, so an interrupted run
goes on.
"""

import argparse
import json
import os
import pathlib
import tempfile

import keras

import kdl
from benchmarks._children import BACKENDS, RESULTS, make_parser
from benchmarks._children import run as run_child
from kdl.data import RandomShift
from kdl.deploy.exporting.verify import between_kernels
from kdl.training import Recipe

KEPT = RESULTS / "quantization.json"
ROUTES = ("calibrate", "quantize_aware")
# TF-MOT trains in TensorFlow whatever the backend.
TFMOT = ("tfmot", "torch")
SIZE = 48
QUANTIZED_EPOCHS = 3
OPTIONS = {"input_shape": (SIZE, SIZE, 3), "classes": 10, "classifier_activation": None}

# Route → how much accuracy may be below that of the float network.
ALLOWED = {"calibrate": 0.01, "quantize_aware": 0.005, "tfmot": 0.01}


def of_kdl(name, **arguments):
    """Function that builds a network of kdl."""
    return lambda: getattr(kdl.applications, name)(**arguments, **OPTIONS)


def of_keras(name):
    """Function that builds a network of `keras.applications`, nested as a user would nest it."""

    def build():
        network = getattr(keras.applications, name)(weights=None, **OPTIONS)
        for layer in network.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.9  # theirs are for a million steps
        inputs = keras.Input(OPTIONS["input_shape"])
        return keras.Model(inputs, network(keras.layers.Rescaling(255.0)(inputs)))

    return build


# Name → (function that builds it, peak learning rate, epochs in floating point).
NETWORKS = {
    "ShuffleNetV2 0.5x": (of_kdl("ShuffleNetV2", alpha=0.5), 0.02, 20),
    "MobileNetV2 0.35": (of_kdl("MobileNetV2", alpha=0.35), 0.01, 20),
    "SqueezeNet 1.1": (of_kdl("SqueezeNet", version="1.1"), 0.0005, 20),
    "SE-ResNet, 1-1-1-1": (of_kdl("SEResNet", depth=(1, 1, 1, 1)), 0.005, 20),
    "Res2Net, 1-1-1-1": (of_kdl("Res2Net", depth=(1, 1, 1, 1)), 0.005, 20),
    "NASNet, 192 channels": (
        of_kdl("NASNet", penultimate_filters=192, blocks=1, stem_filters=8, momentum=0.9),
        0.01,
        20,
    ),
    "keras MobileNetV3Small": (of_keras("MobileNetV3Small"), 0.003, 20),
    "keras EfficientNetB0": (of_keras("EfficientNetB0"), 0.003, 60),
}


def main(arguments=None):
    """Measures what is not in the results yet, and writes the table."""
    parser = make_parser("quantization", __doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--models", type=pathlib.Path, help="folder that keeps the float networks")
    parser.add_argument(
        "--one", nargs=3, metavar=("NETWORK", "ROUTE", "FILE"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args(arguments)
    if arguments.one:
        network, route, path = arguments.one
        row = train_float(network, path) if route == "float" else measure(network, route, path)
        print(json.dumps(row))
        return
    with tempfile.TemporaryDirectory() as folder:
        measure_all(arguments, arguments.models or pathlib.Path(folder))


def measure_all(arguments, folder):
    """Each row in a process of its own, with its backend."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = read_results()
    for network in arguments.networks:
        path = folder / f"{network}.keras"
        wanted = [(route, backend) for backend in arguments.backends for route in ROUTES]
        wanted += [TFMOT] * (TFMOT[1] in arguments.backends)
        missing = [w for w in wanted if " · ".join((network, *w)) not in rows]
        if missing and not path.exists():
            run("torch", network, "float", path)
        for route, backend in missing:
            key = " · ".join((network, route, backend))
            row = run(backend, network, route, path)
            print(key, json.dumps(row), flush=True)
            rows = {**read_results(), key: row}  # another process may have written meanwhile
            KEPT.write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "quantization.md").write_text(table(rows))


def read_results():
    """Dict: network · route · backend → row."""
    return json.loads(KEPT.read_text()) if KEPT.exists() else {}


def run(backend, network, route, path):
    """What a process of its own measures of one network, route and backend."""
    return run_child("quantization", backend, "--one", network, route, path)


def train_float(network, path):
    """Trains a network without rounding and saves it."""
    keras.utils.set_random_seed(0)
    build, rate, epochs = NETWORKS[network]
    model = build()
    accuracy = fit(model, rate, epochs)
    model.save(path)
    return {"accuracy": accuracy}


def fit(model, rate, epochs):
    """Test accuracy after some epochs of AdamW with warm-up and cosine."""
    train, test = kdl.data.digits(size=SIZE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    shift = RandomShift(SIZE // 16)
    # 0.004 is the decay that Keras gives AdamW by itself.
    recipe = Recipe(epochs, 32, rate, weight_decay=0.004, augment=shift, loss=loss, metrics=())
    recipe.fit(model, train, verbose=2)
    return accuracy_of(model, test)


def accuracy_of(model, test):
    """Share of the images that are named right."""
    images, labels = test
    return float((model.predict(images, verbose=0).argmax(-1) == labels).mean())


def measure(network, route, path):
    """One quantized file: how faithful, how accurate."""
    keras.utils.set_random_seed(0)
    train, test = kdl.data.digits(size=SIZE)
    model = keras.models.load_model(path, compile=False)
    accuracy = accuracy_of(model, test)
    quantized, complete = QUANTIZE[route](model, train, NETWORKS[network][1] / 50)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.tflite")
        try:
            proof = kdl.deploy.export_tflite(quantized, file, "int8", verification_data=test)
        except kdl.deploy.ExportError as error:
            return {"float": accuracy, "refused": str(error)}
        summary = kdl.deploy.read_tflite(file)
        kernels = between_kernels(file, test[0])
    return {
        "float": accuracy,
        "accuracy": proof.tflite_accuracy,
        "rounded": proof.keras_accuracy,
        "sqnr": proof.sqnr,
        "agreement": proof.top1_agreement,
        "complete": complete and not summary.float_tensors,
        "kib": summary.size / 1024,
        "kernels": kernels,
    }


def calibrated(model, train, rate):
    """The rounding model, and whether all of it rounds."""
    quantized, report = kdl.compression.calibrate(model, train[0][:256], verbose=0)
    return quantized, report.complete


def trained(model, train, rate):
    """The same after training."""
    quantized, report = kdl.compression.quantize_aware(model, train[0][:256], verbose=0)
    fit(quantized, rate, QUANTIZED_EPOCHS)
    kdl.compression.round_biases(quantized)
    return quantized, report.complete


def trained_by_tfmot(model, train, rate):
    """TF-MOT's model after training; it refuses what it cannot round."""
    quantized = kdl.compression.tfmot.quantize(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(rate)
    quantized.fit(*train, QUANTIZED_EPOCHS, 64, loss=loss, optimizer=optimizer, seed=0, verbose=2)
    return quantized, True


QUANTIZE = {"calibrate": calibrated, "quantize_aware": trained, "tfmot": trained_by_tfmot}


def table(rows):
    """The rows as Markdown, with a mark at each figure that misses its bound."""
    lines = [
        "# int8 files of networks on the digits",
        "",
        "Made by `python -m benchmarks quantization`. 20 epochs in floating point (EfficientNetB0 "
        "60, as it learns slowly without pretrained weights), "
        f"then `calibrate`, or `quantize_aware` or `tfmot.quantize` and {QUANTIZED_EPOCHS} epochs; "
        f"test accuracy on 360 images of {SIZE}² (one is 0.0028). dB and agreement compare a "
        "file with the model that rounds as it does, on logits; the worst of the backends. "
        "Kernels: dB between XNNPACK and LiteRT's plain kernels on the same file, where measured. "
        "Refused: `export_tflite` found the file too far from its model. "
        "✗ marks what misses its bound: accuracy 0.005 (`quantize_aware`) or 0.01 (others) below "
        "float; but for TF-MOT, which trains in TensorFlow whatever the backend, 25 dB and 0.99.",
        "",
        f"| network | route | float | {' | '.join(BACKENDS)} | dB | kernels | agreement "
        "| all int8 | KiB |",
        f"|{' --- |' * 11}",
    ]
    for network in NETWORKS:
        for route in QUANTIZE:
            found = {b: rows.get(" · ".join((network, route, b))) for b in BACKENDS}
            if any(found.values()):
                lines.append(f"| {network} | {route} | {' | '.join(cells(route, found))} |")
    return "\n".join(lines) + "\n"


def cells(route, found):
    """What a network's row tells of one route; `found` has the results of each backend."""
    accuracies = [accuracy_cell(row, ALLOWED[route]) if row else "–" for row in found.values()]
    float_accuracy = f"{next(row['float'] for row in found.values() if row):.4f}"
    measured = [row for row in found.values() if row and "refused" not in row]
    if not measured:
        return [float_accuracy, *accuracies, *[""] * 5]
    worst = min(measured, key=lambda row: row["sqnr"])
    decibels, agreement = worst["sqnr"], min(row["agreement"] for row in measured)
    complete = all(row["complete"] for row in measured)
    return [
        float_accuracy,
        *accuracies,
        marked(f"{decibels:.1f}", decibels >= 25 or route == "tfmot"),
        f"{worst['kernels']:.1f}" if "kernels" in worst else "",
        marked(f"{agreement:.4f}", agreement >= 0.99 or route == "tfmot"),
        marked("yes" if complete else "no", complete),
        f"{measured[0]['kib']:.0f}",
    ]


def accuracy_cell(row, allowed):
    """Accuracy of the file, if there is one."""
    if "refused" in row:
        return marked("refused", False)
    return marked(f"{row['accuracy']:.4f}", row["float"] - row["accuracy"] <= allowed)


def marked(text, good):
    """`text`, with a mark if it is not good."""
    return text if good else f"{text} ✗"
