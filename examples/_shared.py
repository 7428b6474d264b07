"""What the examples share: arguments, the data and the recipe that follow from them, a report."""

import argparse
import pathlib

from kdl.data import (
    InputSpec,
    RandomShift,
    digits,
    load_image_folder,
    random_subset,
    read_label_maps,
)
from kdl.segmentation import plot_segmentation
from kdl.training import Comparison, Recipe, format_table

_HELP = "examples/README.md says where data sets are to be had and how their archives are laid out"


def data_set(text):
    """An argparse type: `digits`, or the path of an archive or folder that exists."""
    if text != "digits" and not pathlib.Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: there is no such file. {_HELP}.")
    return text


def add_output(parser):
    """Adds `--output` and `--smoke`, which every example has."""
    parser.add_argument("--output", type=pathlib.Path, help="folder of the results [runs/EXAMPLE]")
    parser.add_argument("--smoke", action="store_true", help="seconds: only shows that it runs")


def output_folder(arguments, example):
    """The folder of the results; what `--smoke` leaves never replaces a real run's."""
    if arguments.output is not None:
        return arguments.output
    return pathlib.Path("runs") / (f"{example}-smoke" if arguments.smoke else example)


def make_parser(description, example, epochs=8, learning_rate=0.01, batch_size=64, size=32):
    """The parser that the examples of images share.

    Args:
        description: The example's docstring; its first line is shown.
        example: Name of the example, and of the folder of its results.
        epochs: Default number of epochs.
        learning_rate: Default peak of the schedule.
        batch_size: Default number of images in a batch.
        size: Default height and width of the images; None where they keep their own.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.set_defaults(example=example)
    drawn = "digits" if size else None
    parser.add_argument("--data", type=data_set, default=drawn, help="an archive [drawn here]")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--learning-rate", type=float, default=learning_rate)
    if size:
        parser.add_argument("--size", type=int, default=size, help="height and width of the images")
        parser.add_argument("--limit", type=int, help="use this many training images")
    add_output(parser)
    return parser


def parse(parser):
    """The arguments; `--smoke` leaves one epoch on 64 images."""
    arguments = parser.parse_args()
    arguments.output = output_folder(arguments, arguments.example)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.smoke:
        arguments.epochs, arguments.limit = 1, 64
    return arguments


def parse_arguments(description, example, **defaults):
    """The arguments of an example that has none of its own, as `make_parser`."""
    return parse(make_parser(description, example, **defaults))


def load_images(arguments):
    """`(x_train, y_train), (x_test, y_test)` of `--data`, as many as `--limit` says."""
    if arguments.data == "digits":
        train, test = digits(size=arguments.size)
    else:
        spec = InputSpec((arguments.size, arguments.size))
        train, test, _ = load_image_folder(arguments.data, spec, verbose=1)
    if arguments.limit:
        train, test = random_subset(train, arguments.limit), [p[: arguments.limit] for p in test]
    return train, tuple(test)


def make_recipe(arguments, **changes):
    """What each network is trained by: AdamW, images moved by a few pixels."""
    settings = {key: getattr(arguments, key) for key in ("epochs", "batch_size", "learning_rate")}
    if "augment" not in changes:
        settings["augment"] = RandomShift(max(arguments.size // 16, 1))
    return Recipe(**{**settings, **changes})


def report(comparison, folder):
    """Prints the table; writes the results and the curves."""
    print(comparison)
    comparison.save(folder / "results.json")
    comparison.plot(folder / "accuracy.png")
    print(f"Curves: {folder / 'accuracy.png'}")


# Class of CamVid → color, as its authors draw it.
CAMVID = {
    "sky": "#808080",
    "building": "#800000",
    "pole": "#c0c080",
    "road": "#804080",
    "pavement": "#3c28de",
    "tree": "#808000",
    "sign": "#c08080",
    "fence": "#404080",
    "car": "#400080",
    "pedestrian": "#404000",
    "bicyclist": "#0080c0",
}


def load_label_maps(path):
    """Dict of splits `(images in [−1, 1], label maps)`, and the names of the classes."""
    splits = read_label_maps(path)
    classes = max(labels.max() for _, labels in splits.values())  # the last one is unknown
    names = list(CAMVID) if classes == len(CAMVID) else [f"class {i}" for i in range(classes)]
    return {name: (x.astype("float32") / 127.5 - 1, y) for name, (x, y) in splits.items()}, names


SEGMENTATION_COLUMNS = {
    "network": ("name", "{}"),
    "parameters": ("parameters", "{:,}"),
    "million MACs": ("macs", lambda count: f"{count / 1e6:.1f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "mean IoU": ("mean_iou", "{:.4f}"),
    "seconds": ("seconds", "{:.0f}"),
}


def report_segmentation(rows, seen, test, names, title, folder):
    """Prints both tables; writes the results, the curves, and what the networks see.

    Args:
        rows: The rows, with `kdl.segmentation.segmentation_scores`.
        seen: Dict: name of a network → its label maps of the test images.
        test: Images in [−1, 1] and true label maps.
        names: Names of the classes.
        title: Title of the table and the curves.
        folder: Where to write.
    """
    comparison = Comparison(rows, title, SEGMENTATION_COLUMNS)
    classes = [
        {"class": name, **{row["name"]: row["ious"].get(name) for row in rows}} for name in names
    ]
    columns = {"class": ("class", "{}"), **{row["name"]: (row["name"], "{:.3f}") for row in rows}}
    print(comparison, format_table(classes, columns, "IoU of each class"), sep="\n")
    comparison.save(folder / "results.json")
    comparison.plot(folder / "accuracy.png", ylabel="mean IoU, validation")
    maps = {"truth": test[1], **seen}
    images, colors = (test[0] + 1) / 2, list(CAMVID.values())
    plot_segmentation(images, maps, folder / "images.png", len(names), colors=colors)
    print(f"Curves and images: {folder}")
