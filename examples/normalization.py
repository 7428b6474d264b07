"""Normalization when a device holds two images.

Batch norm divides by what it sees of a batch: `y = γ (x − μ) / σ + β`, with `μ` and `σ` of two
images as noisy as two images are. Four ways out, each of a paper:

- group norm (Wu and He, 2018, arXiv 1803.08494) takes `μ` and `σ` over groups of channels of one
  image, and never looks at the batch
- switchable norm (Luo et al., 2018, arXiv 1806.10779) mixes the statistics of instance, layer and
  batch norm, `μ = Σ wₖ μₖ` and `σ² = Σ w'ₖ σₖ²`, and learns the weights
- moving average batch norm (Yan et al., 2020, arXiv 2001.06838) divides by the root of `χ̄²`, the
  mean of `x²` over the last `m` batches, and takes the statistic of the backward pass from as many,
  `∂L/∂x = (g − z · Ψ̄) / χ̄`; its convolutions have kernels of mean zero
- synchronized batch norm sums `(Σx, Σx², n)` over all devices: here two of them

Their claim: with ResNet-50 on ImageNet and 2 images a device instead of 32, batch norm falls from
76.4 to 65.3 % accuracy, switchable norm from 76.9 to 75.6 %, moving average batch norm hardly.

This script trains one small network with each norm, at 32 and at 2 images a device, over the same
epochs. Adam's learning rate follows the root of the batch size.

    python examples/normalization.py                          # digits
    python examples/normalization.py --data cifar10.zip --limit 5000 --epochs 10

On two CPU cores the digits take about eight minutes with PyTorch.

One run, accuracy after six epochs at 32 and at 2 images a device: BN 0.997 and 0.981; GN 0.836 and
0.986; SN 0.997 and 0.994; MABN 0.997 and 0.997; SyncBN on two devices 0.997 (of 16 images each) and
0.992 (the curves: examples/results/normalization.png). With two images batch norm ends lowest, by
half a point to one and a half: digits are easy, and this is one run. Group norm is the slowest to
learn; six epochs of large batches are too few for it.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import keras
from _shared import load_images, make_parser, make_recipe, parse
from matplotlib.figure import Figure

from kdl.layers import (
    CentralizedConv2D,
    MovingAverageBatchNormalization,
    SwitchableNormalization,
    SyncBatchNormalization,
)
from kdl.ops import replica_number
from kdl.training import Comparison, distribute, launch, train_and_measure

IMAGES = 32  # whose statistics are good enough
DEVICES = 2

# Name → function of the images a device that makes the norm.
NORMS = {
    "BN": lambda images: keras.layers.BatchNormalization(momentum=0.9),
    "GN": lambda images: keras.layers.GroupNormalization(8, epsilon=1e-5),
    "SN": lambda images: SwitchableNormalization(),
    "MABN": lambda images: MovingAverageBatchNormalization(buffer_size=IMAGES // images),
}
SYNCHRONIZED = f"SyncBN on {DEVICES} devices"


def build(name, images, shape, classes):
    """Six convolutions, each with its norm."""
    conv = CentralizedConv2D if name == "MABN" else keras.layers.Conv2D
    make = NORMS.get(name, lambda images: SyncBatchNormalization(momentum=0.9))
    x = inputs = keras.Input(shape)
    for stage, filters in enumerate((16, 32, 64)):
        for strides in (1 if stage == 0 else 2, 1):
            x = conv(filters, 3, strides=strides, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(make(images)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def train_row(name, images, train, test, arguments, devices=1):
    """The row of one norm at so many images a device."""
    whole = len(train[0]) // IMAGES * IMAGES  # batches of one size
    train = tuple(part[:whole] for part in train)
    batch = images * devices
    rate = arguments.learning_rate * (batch / IMAGES) ** 0.5
    keras.utils.set_random_seed(0)
    model = build(name, images, train[0].shape[1:], int(train[1].max()) + 1)
    recipe = make_recipe(arguments, batch_size=batch, learning_rate=rate)
    row = train_and_measure(f"{name}, {images} images", model, train, test, recipe)
    return {**row, "norm": name, "images": images}


def train_on_devices(arguments):
    """The rows of synchronized batch norm, from processes of their own."""
    processes = DEVICES if keras.backend.backend() == "torch" else 1
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rows.json"
        launch([sys.executable, __file__, *sys.argv[1:], "--rows", str(path)], processes)
        return json.loads(path.read_text())


def as_a_device(arguments):
    """What each of those processes does."""
    train, test = load_images(arguments)
    with distribute(DEVICES):
        rows = [
            train_row(SYNCHRONIZED, images, train, test, arguments, DEVICES)
            for images in (IMAGES // DEVICES, 2)
        ]
        if replica_number() == 0:  # outside, every process is the first
            arguments.rows.write_text(json.dumps(rows))


def plot(rows, path):
    """Test accuracy over the epochs, few images on the right."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for row in rows:
        axes = panels[int(row["images"] == 2)]
        axes.plot(range(1, len(row["history"]) + 1), row["history"], marker="o", label=row["name"])
    for axes, title in zip(panels, (f"{IMAGES} images", "2 images a device"), strict=True):
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("test accuracy")
    figure.savefig(path, dpi=120)


def main():
    """Trains, prints, draws."""
    parser = make_parser(__doc__, "normalization", epochs=6)
    parser.add_argument("--rows", type=pathlib.Path, help=argparse.SUPPRESS)  # of a part of it
    arguments = parse(parser)
    if arguments.rows:
        as_a_device(arguments)
        return
    train, test = load_images(arguments)
    rows = [train_row(name, n, train, test, arguments) for n in (IMAGES, 2) for name in NORMS]
    comparison = Comparison(
        rows + train_on_devices(arguments), "Norms at 32 and at 2 images a device"
    )
    print(comparison)
    comparison.save(arguments.output / "results.json")
    plot(comparison.rows, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


if __name__ == "__main__":
    main()
