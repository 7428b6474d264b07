"""CIFAR-10 accuracy of small variants after the same short budget, and of their int8 files.

    python -m benchmarks cifar10 --data cifar10.zip

The archive holds `train/<class>/*` and `test/<class>/*`. Each network is trained alike: images
enlarged to 64², shifted and mirrored, AdamW with warm-up and cosine, 3 epochs. That is far from
what they can reach; it tells that each learns, and how they stand after the same few minutes. The
trained network is exported to int8 TFLite, verified, and the file's accuracy measured on the first
test images. What is finished is kept, so an interrupted run goes on.
"""

import json
import pathlib

import keras

import kdl
from benchmarks._children import RESULTS, make_parser
from kdl.data import Augmentation, InputSpec, RandomShift, load_image_folder
from kdl.training import Recipe

CLASSES = 10

# Name in kdl's registry → peak learning rate: small without batch norm, and smaller for the
# narrowest inverted residuals, which learned little with 0.01.
NETWORKS = {
    "shufflenet_v2_x0_5": 0.01,
    "shufflenet_v2_x1_0": 0.01,
    "mobilenet_a0_25": 0.01,
    "mobilenet_a0_5": 0.01,
    "mobilenet_v2_a0_35": 0.005,
    "mobilenet_v2_a0_5": 0.01,
    "shufflenet_x0_5_g3": 0.01,
    "squeezenet1_1": 0.0005,
}


def main(arguments=None):
    """Trains what is not in the results yet, and writes the table."""
    parser = make_parser("cifar10", __doc__)
    parser.add_argument("--data", required=True, help="zip or folder of CIFAR-10 as images")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--limit", type=int, default=None, help="use this many training images")
    parser.add_argument("--files", type=int, default=1000, help="test images for the int8 file")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    arguments = parser.parse_args(arguments)
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / "cifar10.json"
    budget = {key: getattr(arguments, key) for key in ("size", "epochs", "batch_size", "limit")}
    rows = read_rows(path, budget)
    train, test = read_data(arguments)
    for name in arguments.networks:
        if name not in rows:
            rows[name] = measure(name, train, test, arguments)
            path.write_text(json.dumps({"budget": budget, "rows": rows}, indent=1) + "\n")
        print(name, json.dumps(rows[name]), flush=True)
    (arguments.results / "cifar10.md").write_text(table(rows, budget))


def read_rows(path, budget):
    """Rows of an earlier run, which must have had the same budget."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    if earlier["budget"] != budget:
        raise SystemExit(
            f"{path} holds results of another budget, {earlier['budget']}; this run has {budget}. "
            f"Remove it, or choose another folder with --results."
        )
    return earlier["rows"]


def read_data(arguments):
    """Training and test images as float32 in memory, and their labels."""
    spec = InputSpec((arguments.size, arguments.size))
    train, test, _ = load_image_folder(arguments.data, spec, verbose=1)
    return tuple(part[: arguments.limit] for part in train), test


def measure(name, train, test, arguments):
    """Trains one network and exports it."""
    keras.utils.set_random_seed(0)
    shape = (arguments.size, arguments.size, 3)
    model = kdl.applications.create_model(name, input_shape=shape, classes=CLASSES)
    mirror = Augmentation([keras.layers.RandomFlip("horizontal")])
    augment = [RandomShift(arguments.size // 16), mirror]
    recipe = Recipe(arguments.epochs, arguments.batch_size, NETWORKS[name], augment=augment)
    recipe.fit(model, train, verbose=2)
    scores = model.evaluate(*test, batch_size=250, verbose=0, return_dict=True)
    return {
        "parameters": model.count_params(),
        "macs": kdl.applications.macs(model),
        "accuracy": scores["accuracy"],
        "backend": keras.backend.backend(),
        **export(name, model, train[0], [part[: arguments.files] for part in test], arguments),
    }


def export(name, model, calibration, test, arguments):
    """Accuracy of the model and of its int8 file on the same images, and the file's size."""
    path = arguments.results / f"{name}.tflite"
    try:
        proof = kdl.deploy.export_tflite(
            model, path, "int8", calibration[:300], verification_data=tuple(test)
        )
    except kdl.deploy.ExportError as error:
        return {"int8": str(error)}
    size = path.stat().st_size
    path.unlink()
    return {
        "float_accuracy": proof.keras_accuracy,
        "int8_accuracy": proof.tflite_accuracy,
        "kilobytes": size / 1e3,
    }


def table(rows, budget):
    """The results as Markdown."""
    images = "50,000" if budget["limit"] is None else f"{budget['limit']:,}"
    lines = [
        "# CIFAR-10 after a short budget",
        "",
        f"`python -m benchmarks cifar10 --data cifar10.zip`: {images} images at "
        f"{budget['size']}², {budget['epochs']} epochs, batch {budget['batch_size']}; 10,000 test "
        "images. The int8 file is compared with the model on the same 1,000 of them.",
        "",
        "| network | parameters | million MACs | test accuracy | 1,000: model | 1,000: int8 file "
        "| int8 kB | backend |",
        f"|{' --- |' * 8}",
    ]
    for name in filter(rows.get, NETWORKS):
        row = rows[name]
        cells = [
            name,
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.1f}",
            f"{row['accuracy']:.4f}",
            *(
                [f"{row['float_accuracy']:.3f}", f"{row['int8_accuracy']:.3f}"]
                if "int8_accuracy" in row
                else ["–", "refused"]
            ),
            f"{row['kilobytes']:.0f}" if "kilobytes" in row else "–",
            row["backend"],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
