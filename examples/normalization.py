"""Normalisation when a device holds two images.

Batch norm divides by what it sees of a batch: `y = γ (x − μ) / σ + β`, with `μ` and `σ` of two
images as noisy as two images are. Four ways out, each of a paper:

- group norm (Wu and He, 2018, arXiv 1803.08494) takes `μ` and `σ` over groups of channels of one
  image, and never looks at the batch
- switchable norm (Luo et al., 2018, arXiv 1806.10779) mixes the statistics of instance, layer and
  batch norm, `μ = Σ wₖ μₖ` and `σ² = Σ w'ₖ σₖ²`, and learns the weights
- moving average batch norm (Yan et al., 2020, arXiv 2001.06838) divides by the root of `χ̄²`, the
  mean of `x²` over the last `m` batches, and takes the statistic of the backward pass from as many,
  `∂L/∂x = (g − z · Ψ̄) / χ̄`; its convolutions have kernels of mean zero
- synchronised batch norm sums `(Σx, Σx², n)` over all devices: here two of them

Their claim: with ResNet-50 on ImageNet and 2 images a device instead of 32, batch norm falls from
76.4 to 65.3 % accuracy, switchable norm from 76.9 to 75.6 %, moving average batch norm hardly.

This script trains one small network with each norm, at 32 and at 2 images a device, over the same
epochs. Adam's learning rate follows the root of the batch size.

    python examples/normalization.py                          # digits
    python examples/normalization.py --data cifar10.zip --limit 5000 --epochs 10

On two processor cores the digits take about eight minutes with PyTorch.

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
from _study import measure, parse_arguments, print_table, read_data

from kdl.layers import (
    CentralizedConv2D,
    MovingAverageBatchNormalization,
    SwitchableNormalization,
    SyncBatchNormalization,
)
from kdl.ops import replica_number
from kdl.training import distribute, launch

IMAGES = 32  # whose statistics are good enough
DEVICES = 2

# Name → function of the images a device that makes the norm.
NORMS = {
    "BN": lambda images: keras.layers.BatchNormalization(momentum=0.9),
    "GN": lambda images: keras.layers.GroupNormalization(8, epsilon=1e-5),
    "SN": lambda images: SwitchableNormalization(),
    "MABN": lambda images: MovingAverageBatchNormalization(buffer_size=IMAGES // images),
}
SYNCHRONISED = f"SyncBN on {DEVICES} devices"


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


def train(name, images, data, arguments, devices=1):
    """The row of one norm at so many images a device."""
    train_set, test_set, classes = data
    whole = len(train_set[0]) // IMAGES * IMAGES  # batches of one size
    train_set = tuple(part[:whole] for part in train_set)
    settings = argparse.Namespace(**vars(arguments))
    settings.batch_size = images * devices
    settings.learning_rate *= (settings.batch_size / IMAGES) ** 0.5
    keras.utils.set_random_seed(0)
    model = build(name, images, train_set[0].shape[1:], classes)
    row = measure(f"{name}, {images} images", model, model, train_set, test_set, settings)
    return {**row, "norm": name, "images": images}


def train_on_devices(arguments):
    """The rows of synchronised batch norm, from processes of their own."""
    processes = DEVICES if keras.backend.backend() == "torch" else 1
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rows.json"
        launch([sys.executable, __file__, *sys.argv[1:], "--rows", str(path)], processes)
        return json.loads(path.read_text())


def as_a_device(arguments):
    """What each of those processes does."""
    data = read_data(arguments)
    with distribute(DEVICES):
        rows = [train(SYNCHRONISED, n, data, arguments, DEVICES) for n in (IMAGES // DEVICES, 2)]
        if replica_number() == 0:  # outside, every process is the first
            arguments.rows.write_text(json.dumps(rows))


def plot(rows, path):
    """Test accuracy over the epochs, few images on the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for row in rows:
        axes = panels[int(row["images"] == 2)]
        axes.plot(range(1, len(row["history"]) + 1), row["history"], marker="o", label=row["name"])
    for axes, title in zip(panels, (f"{IMAGES} images", "2 images a device"), strict=True):
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    panels[0].set_ylabel("test accuracy")
    figure.savefig(path, dpi=120)


def main():
    """Trains, prints, draws."""
    arguments = parse_arguments(__doc__, "normalization", epochs=6)
    if arguments.rows:
        as_a_device(arguments)
        return
    data = read_data(arguments)
    rows = [train(name, n, data, arguments) for n in (IMAGES, 2) for name in NORMS]
    rows += train_on_devices(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(rows, indent=1))
    print_table(rows, "Norms at 32 and at 2 images a device")
    plot(rows, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


if __name__ == "__main__":
    main()
