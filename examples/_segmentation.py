"""What the examples of segmentation share: reading, batches, scores, tables and pictures."""

import argparse
import io
import zipfile

import keras
import numpy as np
from _arguments import add_output, data_set, output_folder
from rich.console import Console
from rich.table import Table

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


def parse_arguments(description, paper, epochs=20, learning_rate=0.004):
    """The command line of the examples of segmentation.

    Args:
        description: The example's docstring; its first line is shown.
        paper: Name of the example, and of the folder of its results.
        epochs: Default number of epochs.
        learning_rate: Default peak of the schedule.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--data", type=data_set, default=None, help="a zip of pictures and labels; else drawn"
    )
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    add_output(parser)
    arguments = parser.parse_args()
    arguments.output = output_folder(arguments, paper)
    if arguments.smoke:
        arguments.epochs = 1
    return arguments


def read_zip(path, size=96):
    """Dict of splits `(pictures, labels)`, and the names of the classes.

    Args:
        path: A zip of `<split>/images/*.jpg` and `<split>/labels/*.png`, or of `images/*.png` and
            `instances/*.png`, where 0 is the background and each object has a number of its own.
        size: Height and width to which the second kind is brought.
    """
    with zipfile.ZipFile(path) as archive:
        if any(name.startswith("instances/") for name in archive.namelist()):
            return _read_instances(archive, size)
        return _read_labels(archive)


def _read_labels(archive):
    splits = {}
    for split in ("train", "val", "test"):
        files = sorted(n for n in archive.namelist() if n.startswith(f"{split}/images/"))
        files = [name for name in files if name.endswith(".jpg")]
        x = np.stack([_read(archive, name) for name in files])
        labels = [name.replace("/images/", "/labels/").replace(".jpg", ".png") for name in files]
        y = np.stack([_read(archive, name) for name in labels])
        splits[split] = x.astype("float32") / 127.5 - 1, y.astype("int32")
    classes = max(y.max() for _, y in splits.values())
    names = list(CAMVID) if classes == len(CAMVID) else [f"class {i}" for i in range(classes)]
    return splits, names


def _read_instances(archive, size):
    """Objects against background: 70 % for training, 10 % for validation, 20 % for the test."""
    files = sorted(n for n in archive.namelist() if n.startswith("images/") and n.endswith(".png"))
    x = np.stack([_read(archive, name, size) for name in files]).astype("float32") / 127.5 - 1
    objects = [_read(archive, name.replace("images/", "instances/"), size) for name in files]
    y = (np.stack(objects) > 0).astype("int32")
    order = np.random.default_rng(0).permutation(len(files))
    parts = np.split(order, [7 * len(files) // 10, 8 * len(files) // 10])
    splits = {name: (x[p], y[p]) for name, p in zip(("train", "val", "test"), parts, strict=True)}
    return splits, ["background", "object"]


def _read(archive, name, size=None):
    from PIL import Image

    picture = Image.open(io.BytesIO(archive.read(name)))
    if size is None:
        return np.asarray(picture)
    of_labels = picture.mode != "RGB"  # numbers of objects must not mix
    resample = Image.Resampling.NEAREST if of_labels else Image.Resampling.BOX
    return np.asarray(picture.resize((size, size), resample))


class Scenes(keras.utils.PyDataset):
    """Batches of pictures and labels, shuffled and mirrored at random.

    Args:
        x: Pictures.
        y: Labels of the pixels.
        batch_size: Pictures in a batch.
        heads: Names of the outputs that all have these labels; None for one output.
        augment: Whether to shuffle and mirror.
    """

    def __init__(self, x, y, batch_size, heads=None, augment=True):
        super().__init__()
        self.x, self.y, self.batch_size, self.augment = x, y, batch_size, augment
        self.heads = heads
        self.rng = np.random.default_rng(0)
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.x) // self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        x, y = self.x[rows], self.y[rows]
        if self.augment and self.rng.random() < 0.5:
            x, y = x[:, :, ::-1], y[:, :, ::-1]
        # Keras wants targets for each output.
        return x, y if self.heads is None else dict.fromkeys(self.heads, y)

    def on_epoch_end(self):
        """A new order for the next epoch."""
        rows = np.arange(len(self.x))
        self.order = self.rng.permutation(rows) if self.augment else rows


def predict(model, x, batch_size=8):
    """The most likely class of each pixel."""
    parts = range(0, len(x), batch_size)
    return np.concatenate([model.predict_on_batch(x[i : i + batch_size]).argmax(-1) for i in parts])


def scores(labels, predicted, names):
    """Accuracy, mean IoU and the IoU of each class that is there or was predicted."""
    counts = confusion(labels, predicted, len(names))
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    ious = counts.diagonal()[union > 0] / union[union > 0]
    return {
        "accuracy": counts.trace() / counts.sum(),
        "mean_iou": ious.mean(),
        "ious": dict(zip(np.array(names)[union > 0].tolist(), ious.tolist(), strict=True)),
    }


def confusion(labels, predicted, classes):
    """Pixels of class i that were taken for class j; those of unknown class are left out."""
    known = labels < classes
    pairs = labels[known].astype(int) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def print_tables(rows, names, title):
    """The result on the screen."""
    table = Table(title=title)
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


def plot_curves(rows, title, path):
    """Mean IoU on the validation pictures over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in rows:
        epochs = range(1, len(row["history"]) + 1)
        axes.plot(epochs, row["history"], marker="o", label=row["name"])
    axes.set(xlabel="epoch", ylabel="mean IoU, validation", title=title)
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
        axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=100)


def coloured(labels, classes):
    """Labels as colours; black where the class is unknown."""
    rgb = np.array([list(bytes.fromhex(colour)) for colour in CAMVID.values()]) / 255
    return np.concatenate([rgb[:classes], np.zeros((1, 3))])[labels]
