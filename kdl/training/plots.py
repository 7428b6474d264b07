"""Images of a training run."""

import numpy as np

from kdl._plots import make_figure, write_figure


def plot_history(rows, path):
    """Draws loss and accuracy over the epochs, training beside validation.

    Args:
        rows: List of dicts with `epoch` and logged values, such as `Backup.rows`; not every epoch
            needs to have every value.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    logged = list(dict.fromkeys(name for row in rows for name in row))
    names = [n for n in logged if f"val_{n}" in logged]
    names = names or [n for n in logged if n not in ("epoch", "learning_rate")]
    figure = make_figure((4.5 * len(names), 3.2))
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            there = [row for row in rows if key in row]
            epochs, values = [row["epoch"] for row in there], [row[key] for row in there]
            if there:
                axes.plot(np.array(epochs), np.array(values), marker=".", label=label)
        axes.set(xlabel="epoch", title=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    write_figure(figure, path)


def plot_confusion_matrix(labels, predictions, class_names, path):
    """Draws how often each class was taken for each other; rows are the true classes.

    Args:
        labels: True classes `(samples,)`, integers.
        predictions: Predicted classes `(samples,)`, integers.
        class_names: Names in the order of the integers.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    classes = len(class_names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    side = min(max(3.5, 0.45 * classes + 1.5), 16)
    figure = make_figure((side, side))
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # A name is no formula, whatever dollar signs it has.
    axes.set_xticks(range(classes), class_names, rotation=90 * (classes > 10), parse_math=False)
    axes.set_yticks(range(classes), class_names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix (validation)")
    if classes <= 30:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color)
    write_figure(figure, path)
