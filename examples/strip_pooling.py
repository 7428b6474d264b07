"""Strip pooling: context along rows and columns, for segmentation.

Hou et al., 2020 (arXiv 2003.13328) say that square windows see too much and too little of what is
long and thin, such as a pole, a fence or a kerb. They average over strips one pixel wide,

    rows[i] = mean_j x[i, j],    columns[j] = mean_i x[i, j],

convolve each along itself, and let every pixel add what its row and its column tell:

    y[i, j] = x[i, j] · σ(W · relu(rows'[i] + columns'[j]) + b)        (`kdl.layers.StripPooling`)

This gate stands in the residual blocks of the backbone. In the head, `kdl.layers.MixedPooling`
joins strips, for what is far, with grids of averages, for what is near. SPNet is both on a dilated
ResNet; with 101 layers, trained from ImageNet's weights, it reached a mean IoU of 45.60 % on
ADE20K.

This script trains a small SPNet and the same network without either from scratch, on the same
pictures for as many epochs, and shows what each makes of a scene. Pixels whose class nobody knows
count in neither loss nor result.

    python examples/strip_pooling.py                     # scenes that it draws itself
    python examples/strip_pooling.py --data camvid.zip --epochs 10

A zip file holds `<split>/images/*.jpg` and `<split>/labels/*.png` for the splits train, val and
test, all of one size; a label is the number of its class, or the number after the last one where
the class is unknown. CamVid in this form: classes 0 to 10, and 11.

One run on CamVid (367 training pictures of 240×180) with PyTorch, 10 epochs of about 40 seconds
for each network on a busy processor core. Mean IoU on the validation and the test pictures: 0.424
and 0.357 without strips, 0.441 and 0.349 with them, for 62 % more parameters and 32 % more
multiply-adds. So at this size, after so short a training, the paper's gain is not to be seen; both
networks miss poles and signs altogether. (Curves: examples/results/strip_pooling.png; what they
see, strips on the right: examples/results/strip_pooling_pictures.png.)
"""

import argparse
import io
import json
import pathlib
import time
import zipfile

import keras
import numpy as np
from _study import ROOT
from rich.console import Console
from rich.table import Table

from kdl.applications import ResNet, macs
from kdl.metrics import MeanIoU
from kdl.segmentation import SPNet
from kdl.training import WarmUpCosine

DRAWN = ["ground", "red row", "blue row", "red column", "blue column"]
# Class → colour, as CamVid's authors draw it.
CAMVID = {
    "sky": "808080",
    "building": "800000",
    "pole": "c0c080",
    "road": "804080",
    "pavement": "3c28de",
    "tree": "808000",
    "sign": "c08080",
    "fence": "404080",
    "car": "400080",
    "pedestrian": "404000",
    "bicyclist": "0080c0",
}


def main():
    """Trains both networks and compares them."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    splits, names = read_zip(arguments.data) if arguments.data else draw_all(arguments.smoke)
    rows, seen = [], {}
    for name, with_strips in (("without strips", False), ("strip pooling", True)):
        keras.utils.set_random_seed(0)
        model = network(splits["train"][0].shape[1:], len(names), with_strips)
        row, seen[name] = train_and_test(name, model, splits, names, arguments)
        rows.append(row)
    (arguments.output / "results.json").write_text(json.dumps(rows, indent=1))
    print_tables(rows, names)
    plot_curves(rows, arguments.output / "accuracy.png")
    plot_pictures(splits["test"], seen, len(names), arguments.output / "pictures.png")
    print(f"Curves and pictures: {arguments.output}")


def network(shape, classes, with_strips):
    """A small SPNet, or the same network without any pooling over strips or grids."""
    backbone = ResNet(
        (2, 2, 2, 2),
        width=8,
        stem="deep",
        strip_pooling=with_strips,
        multi_grid=(1, 2),
        output_stride=8,
        include_top=False,
        input_shape=shape,
    )
    return SPNet(backbone, classes, modules=2 if with_strips else 0)


def train_and_test(name, model, splits, names, arguments):
    """The row of the table, and the predictions for the test pictures."""
    void = len(names)
    start = time.monotonic()
    train = Scenes(*splits["train"], arguments.batch_size)
    steps = arguments.epochs * len(train)
    schedule = WarmUpCosine(arguments.learning_rate, steps, warm_up_steps=steps // 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=void)
    iou = MeanIoU(void, ignore_class=void)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.01),
        {"main": loss, "auxiliary": loss},
        loss_weights=model.loss_weights,
        metrics={"main": iou},
    )
    held_out = Scenes(*splits["val"], arguments.batch_size, augment=False)
    history = model.fit(
        train, validation_data=held_out, epochs=arguments.epochs, shuffle=False, verbose=2
    ).history
    seconds = time.monotonic() - start

    plain = model.inference_model()  # the auxiliary head has done its work
    x, y = splits["test"]
    predicted = np.concatenate(
        [plain.predict_on_batch(x[i : i + 8]).argmax(-1) for i in range(0, len(x), 8)]
    )
    counts = confusion(y, predicted, void)
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    ious = counts.diagonal()[union > 0] / union[union > 0]
    row = {
        "name": name,
        "parameters": plain.count_params(),
        "macs": macs(plain),
        "accuracy": counts.trace() / counts.sum(),
        "mean_iou": ious.mean(),
        "ious": dict(zip(np.array(names)[union > 0].tolist(), ious.tolist(), strict=True)),
        "seconds": seconds,
        "history": history["val_main_mean_iou"],
    }
    return row, predicted


def confusion(labels, predicted, classes):
    """Pixels of class i that were taken for class j; those of unknown class are left out."""
    known = labels < classes
    pairs = labels[known].astype(int) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


class Scenes(keras.utils.PyDataset):
    """Batches of pictures and labels, shuffled and mirrored at random."""

    def __init__(self, x, y, batch_size, augment=True):
        super().__init__()
        self.x, self.y, self.batch_size, self.augment = x, y, batch_size, augment
        self.rng = np.random.default_rng(0)
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        x, y = self.x[rows], self.y[rows]
        if self.augment and self.rng.random() < 0.5:
            x, y = x[:, :, ::-1], y[:, :, ::-1]
        # Keras wants targets for each output; both heads have the same.
        return x, {"main": y, "auxiliary": y}

    def on_epoch_end(self):
        """A new order for the next epoch."""
        rows = np.arange(len(self.x))
        self.order = self.rng.permutation(rows) if self.augment else rows


def read_zip(path):
    """Dict of splits `(pictures, labels)`, and the names of the classes."""
    from PIL import Image

    def read(archive, name):
        return np.asarray(Image.open(io.BytesIO(archive.read(name))))

    splits = {}
    with zipfile.ZipFile(path) as archive:
        for split in ("train", "val", "test"):
            files = sorted(n for n in archive.namelist() if n.startswith(f"{split}/images/"))
            files = [name for name in files if name.endswith(".jpg")]
            x = np.stack([read(archive, name) for name in files])
            labels = [
                name.replace("/images/", "/labels/").replace(".jpg", ".png") for name in files
            ]
            y = np.stack([read(archive, name) for name in labels])
            splits[split] = x.astype("float32") / 127.5 - 1, y.astype("int32")
    classes = max(y.max() for _, y in splits.values())
    names = list(CAMVID) if classes == len(CAMVID) else [f"class {i}" for i in range(classes)]
    return splits, names


def draw_all(smoke):
    """Dict of splits of drawn scenes, and the names of their classes."""
    counts = {"train": 24, "val": 8, "test": 8} if smoke else {"train": 400, "val": 80, "test": 80}
    splits = {split: draw(count, seed) for seed, (split, count) in enumerate(counts.items())}
    return splits, DRAWN


def draw(count, seed, height=64, width=96, bars=3):
    """Grey bars across the picture: only the colour of one end tells the class of the whole bar.

    Where bars cross, the class is unknown.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.3, (count, height, width, 3)).astype("float32")
    y = np.zeros((count, height, width), "int32")
    for picture, labels in zip(x, y, strict=True):
        for down in (False, True):
            if down:  # columns are the rows of the picture turned
                picture, labels = picture.swapaxes(0, 1), labels.swapaxes(0, 1)
            starts = rng.choice(len(picture) // 8, bars, replace=False) * 8
            for start in starts:
                colour = rng.integers(2)
                bar, end = slice(start, start + 4), slice(-8, None) if rng.integers(2) else slice(8)
                picture[bar] = 0.5 + 0.5 * picture[bar]
                picture[bar, end] = ((1, -1, -1), (-1, -1, 1))[colour]
                crossed = labels[bar] > 0
                labels[bar] = np.where(crossed, len(DRAWN), 1 + colour + 2 * down)
    return x, y


def print_tables(rows, names):
    """The result on the screen."""
    table = Table(title="SPNet with and without strip pooling: test pictures")
    for column in ("network", "parameters", "million MACs", "accuracy", "mean IoU", "seconds"):
        name = column == "network"
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e6:.1f}",
            f"{row['accuracy']:.4f}",
            f"{row['mean_iou']:.4f}",
            f"{row['seconds']:.0f}",
        )
    Console().print(table)
    table = Table("class", *(row["name"] for row in rows), title="IoU of each class")
    for name in names:
        table.add_row(name, *(f"{row['ious'].get(name, float('nan')):.3f}" for row in rows))
    Console().print(table)


def plot_curves(rows, path):
    """Mean IoU on the validation pictures over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        epochs = range(1, len(row["history"]) + 1)
        axes.plot(epochs, row["history"], marker="o", label=row["name"])
    axes.set(xlabel="epoch", ylabel="mean IoU, validation", title="SPNet: strips or not")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def plot_pictures(test, seen, classes, path, count=4):
    """A few scenes, their true classes, and what each network makes of them."""
    from matplotlib.figure import Figure

    x, y = test
    columns = {"picture": np.clip((x + 1) / 2, 0, 1), "truth": coloured(y, classes)}
    columns |= {name: coloured(predicted, classes) for name, predicted in seen.items()}
    figure = Figure(figsize=(10, 1.9 * count), layout="constrained")
    grid = figure.subplots(count, len(columns))
    for axes, index in zip(grid, np.linspace(0, len(x) - 1, count).astype(int), strict=True):
        for axis, pictures in zip(axes, columns.values(), strict=True):
            axis.imshow(pictures[index])
            axis.set_axis_off()
    for axis, title in zip(grid[0], columns, strict=True):
        axis.set_title(title)
    figure.savefig(path, dpi=100)


def coloured(labels, classes):
    """Labels as colours; black where the class is unknown."""
    rgb = np.array([list(bytes.fromhex(colour)) for colour in CAMVID.values()]) / 255
    return np.concatenate([rgb[:classes], np.zeros((1, 3))])[labels]


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=None, help="a zip of pictures and labels; else drawn")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.004)
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "runs" / "strip_pooling")
    parser.add_argument("--smoke", action="store_true", help="seconds: one epoch, few pictures")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.epochs = 1
    return arguments


if __name__ == "__main__":
    main()
