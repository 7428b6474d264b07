"""Pictures of a training run."""

import numpy as np


def plot_history(rows, path):
    """Draws loss and accuracy over the epochs, training beside validation.

    Args:
        rows: List of dicts with `epoch` and logged values, such as `Backup.rows`.
        path: PNG file to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    names = [n for n in rows[0] if f"val_{n}" in rows[0]]
    names = names or [n for n in rows[0] if n not in ("epoch", "learning_rate")]
    figure = make_figure((4.5 * len(names), 3.2))
    epochs = [row["epoch"] for row in rows]
    for axes, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in rows[0]:
                axes.plot(epochs, [row[key] for row in rows], marker=".", label=label)
        axes.set(xlabel="epoch", title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


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
    axes.set_xticks(range(classes), class_names, rotation=90 if classes > 10 else 0)
    axes.set_yticks(range(classes), class_names)
    axes.set(xlabel="predicted", ylabel="true", title="Confusion matrix (test)")
    if classes <= 30:
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color)
    figure.savefig(path, dpi=120)


def make_figure(size):
    """An empty figure of this size in inches; ImportError says how to get matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need: pip install 'kdl[cli]'") from error
    return Figure(figsize=size, layout="constrained")
