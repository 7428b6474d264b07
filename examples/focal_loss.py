"""Focal loss: where nearly everything is background.

A detector of one stage says at every place of an image whether an object is there. Nearly
everywhere there is none: the output is easy, each such place has a small loss, and thousands of
them together outweigh the few objects. Lin et al., 2017 (Focal Loss for Dense Object Detection,
arXiv 1708.02002) let the loss of a place fade as its output gets right,

    FL = −α_t · (1 − p_t)^γ · ln p_t     p_t = p and α_t = α for an object, else 1 − p and 1 − α

summed over all places and divided by the number of objects: `FocalLoss(alpha, gamma,
normalize_by_positives=True, reduction="sum")`. With γ = 2 a place of background with p = 0.01 has a
10,000th of its cross-entropy, one with p = 0.5 a quarter. Their claim: RetinaNet on COCO goes from
an average precision of 31.1 with the best-weighted cross-entropy to 34.0 with γ = 2 (the best α for
each: 0.75 and 0.25). They start every network where it says "object" with a probability of 0.01,
`b = −ln(0.99 / 0.01)`, since otherwise cross-entropy does not train at all; so does this script.

The task here is that of such a detector's classifier: scenes with one digit among shreds of
others. The network gives ten scores for each of 24 × 24 cells; the cell with a digit's center has
its class (0 … 9), the cells around it are left out (−2), and all others are background (−1): one
score in 5,760 should be yes. Average precision (AP), the mean over classes, tells networks apart.
Accuracy does not: whoever never finds a digit is right in 99 % of the cells.

    python examples/focal_loss.py                            # digits
    python examples/focal_loss.py --data bccd.zip --epochs 12   # blood cells: red, white, platelets

On one CPU core the digits take two and a half minutes with PyTorch.

One run with PyTorch: before training, background has 92 % of plain cross-entropy, 56 % of the focal
loss with γ = 0.5, 0.4 % with γ = 2. AP after eight epochs: cross-entropy 0.825, weighted
cross-entropy 0.897, focal loss 0.896 with γ = 0.5, 0.830 with γ = 2 and 0.707 with γ = 5; accuracy
0.999 for all of them (the curves: examples/results/focal_loss.png). So γ = 0.5 does better than
plain cross-entropy; γ = 2 learns fastest in the first two epochs, and ends no better. The paper's
gain over cross-entropy that is merely weighted is not here: γ = 0.5 only draws level with it, and
more is worse. On the blood cells, where one score in 267 should be yes, no γ up to 2 makes a
difference (AP 0.66 to 0.68). RetinaNet has 100,000 anchors an image, and trains for 90,000 steps,
not for 300.
"""

import time

import keras
import numpy as np
from _shared import make_recipe, parse_arguments
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from kdl.applications import macs
from kdl.data import digit_scenes, random_subset, read_voc
from kdl.losses import FocalLoss
from kdl.training import Comparison, WarmUpCosine

# Name → (α, γ): the best α that the paper found for each γ.
LOSSES = {
    "cross-entropy": (None, 0.0),
    "weighted cross-entropy": (0.75, 0.0),
    "focal, γ = 0.5": (0.5, 0.5),
    "focal, γ = 2": (0.25, 2.0),
    "focal, γ = 5": (0.25, 5.0),
}
CELL = 4  # pixels
PRIOR = 0.01
CELLS_OF_BLOOD, BLOOD_SIZE = ("RBC", "WBC", "Platelets"), (120, 160)
COLUMNS = {
    "loss": ("name", "{}"),
    "background before": ("background_share", "{:.1%}"),
    "AP": ("average_precision", "{:.3f}"),
    "recall at ½": ("recall", "{:.3f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "seconds": ("seconds", "{:.0f}"),
}


def main():
    """Trains a network with each loss; prints, draws and saves what came out."""
    arguments = parse_arguments(__doc__, "focal_loss", size=96, epochs=8, learning_rate=0.003)
    train, test, classes = read_scenes(arguments)
    positive = (train[1] >= 0).sum() / (train[1].size * classes)
    print(f"{len(train[0])} scenes, one positive in {1 / positive:.0f} scores", flush=True)
    rows, curves = [], {}
    for name, (alpha, gamma) in LOSSES.items():
        row, curves[name] = run(name, alpha, gamma, train, test, classes, arguments)
        print(f"{name}: AP {row['average_precision']:.3f}", flush=True)
        rows.append(row)
    comparison = Comparison(rows, "Cells of scenes, nearly all of them background", COLUMNS)
    print(comparison)
    comparison.save(arguments.output / "results.json")
    plot(rows, curves, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


def run(name, alpha, gamma, train, test, classes, arguments):
    """The row of one loss, and its curve of precision over recall."""
    start = time.monotonic()
    keras.utils.set_random_seed(0)
    model = build(train[0].shape[1:], classes)
    loss = FocalLoss(alpha, gamma, from_logits=True, normalize_by_positives=True, reduction="sum")
    batch = max(arguments.batch_size // 4, 1)
    steps = make_recipe(arguments, batch_size=batch).steps(len(train[0]))
    schedule = WarmUpCosine(arguments.learning_rate, steps, warm_up_steps=steps // 10)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss)
    share = background_share(model, loss, *train)
    history = []
    for _ in range(arguments.epochs):
        model.fit(*train, batch_size=batch, verbose=0)
        scores = model.predict(test[0], batch_size=batch, verbose=0)
        history.append(measure(test[1], scores)["average_precision"])
    known = test[1] != -2
    wanted = test[1][known][:, None] == np.arange(classes)
    row = {
        "name": name,
        "alpha": alpha,
        "gamma": gamma,
        "parameters": model.count_params(),
        "macs": macs(model),
        "background_share": share,
        **measure(test[1], scores),
        "seconds": time.monotonic() - start,
        "history": history,
    }
    return row, precision_recall_curve(wanted.ravel(), scores[known].ravel())[:2]


def build(shape, classes):
    """Five convolutions and a score for each class in each cell of 4 × 4 pixels."""
    x = inputs = keras.Input(shape)
    for filters, strides, rate in ((16, 2, 1), (24, 1, 1), (48, 2, 1), (48, 1, 1), (48, 1, 2)):
        x = keras.layers.Conv2D(
            filters, 3, strides, padding="same", dilation_rate=rate, use_bias=False
        )(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    prior = keras.initializers.Constant(-np.log((1 - PRIOR) / PRIOR))
    return keras.Model(inputs, keras.layers.Conv2D(classes, 1, bias_initializer=prior)(x))


def background_share(model, loss, images, labels):
    """Share of a batch's loss that its background has before training."""
    labels, scores = labels[:32], model.predict(images[:32], verbose=0)
    total, objects = (
        float(loss(labels, scores, sample_weight=weights.astype("float32")))
        for weights in (labels != -2, labels >= 0)
    )
    return 1 - objects / total


def measure(labels, scores):
    """AP, the mean over the classes; recall of objects at ½; accuracy of cells."""
    known = labels != -2
    labels, scores = labels[known], scores[known]
    there = [k for k in range(scores.shape[-1]) if (labels == k).any()]
    precisions = [average_precision_score(labels == k, scores[:, k]) for k in there]
    objects, found = labels >= 0, np.where(scores.max(-1) > 0, scores.argmax(-1), -1)
    return {
        "average_precision": float(np.mean(precisions)),
        "recall": float(np.mean(scores[objects, labels[objects]] > 0)),
        "accuracy": float(np.mean(found == labels)),
    }


def read_scenes(arguments):
    """`((images, labels of cells) of the training, of the test), number of classes`."""
    if arguments.data == "digits":
        parts = [digit_scenes(600, arguments.size), None]
        parts[1] = digit_scenes(300, arguments.size, split="test", seed=1)
        classes = 10
    else:
        images, targets = read_voc(arguments.data, BLOOD_SIZE, CELLS_OF_BLOOD)
        images, boxes, labels = random_subset((images, targets["boxes"], targets["labels"]))
        images, cut = images.astype("float32") / 255, int(0.8 * len(images))
        parts = [
            (images[part], {"boxes": boxes[part], "labels": labels[part]})
            for part in (slice(cut), slice(cut, None))
        ]
        classes = len(CELLS_OF_BLOOD)
    limit = arguments.limit
    train, test = (
        (images[:limit], label_cells(targets, images.shape[1:3])[:limit])
        for images, targets in parts
    )
    return train, test, classes


def label_cells(targets, size):
    """Class of the object whose center a cell has, −2 around it, −1 elsewhere."""
    boxes, classes = targets["boxes"], targets["labels"]
    cells = np.full((len(boxes), size[0] // CELL, size[1] // CELL), -1, "int32")
    centers = (boxes[..., [1, 0]] + boxes[..., [3, 2]]) / 2
    places = np.clip(centers // CELL, 0, np.array(cells.shape[1:]) - 1).astype(int)
    objects = np.argwhere(classes >= 0)  # padding has −1
    for image, number in objects:
        row, column = places[image, number]
        cells[image, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = -2
    for image, number in objects:
        cells[(image, *places[image, number])] = classes[image, number]
    return cells


def plot(rows, curves, path):
    """AP over the epochs, and precision over recall at the end."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in rows:
        left.plot(range(1, len(row["history"]) + 1), row["history"], marker="o", label=row["name"])
        precision, found = curves[row["name"]]
        right.plot(found, precision, label=row["name"])
    left.set(xlabel="epoch", ylabel="average precision on the test scenes")
    right.set(xlabel="recall", ylabel="precision")
    for axes, place in ((left, "lower right"), (right, "lower left")):
        axes.grid(alpha=0.3)
        axes.legend(loc=place, fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
