"""Focal loss: where nearly everything is background.

A detector of one stage answers at every place of a picture whether an object is there. Nearly
everywhere there is none: the answer is easy, each such place has a small loss, and thousands of
them together outweigh the few objects. Lin et al., 2017 (Focal Loss for Dense Object Detection,
arXiv 1708.02002) let the loss of a place fade as its answer gets right,

    FL = −α_t · (1 − p_t)^γ · ln p_t     p_t = p and α_t = α for an object, else 1 − p and 1 − α

summed over all places and divided by the number of objects: `FocalLoss(alpha, gamma,
normalize_by_positives=True, reduction="sum")`. With γ = 2 a place of background with p = 0.01 has a
10,000th of its cross-entropy, one with p = 0.5 a quarter. Their claim: RetinaNet on COCO goes from
an average precision of 31.1 with the best-weighted cross-entropy to 34.0 with γ = 2 (the best α for
each: 0.75 and 0.25). They start every network where it says "object" with a probability of 0.01,
`b = −ln(0.99 / 0.01)`, since otherwise cross-entropy does not train at all; so does this script.

The task here is that of such a detector's classifier: scenes with one digit among shreds of
others. The network gives ten scores for each of 24 × 24 cells; the cell with a digit's centre has
its class (0 … 9), the cells around it are left out (−2), and all others are background (−1): one
score in 5,760 should be yes. Average precision (AP), the mean over classes, tells networks apart.
Accuracy does not: whoever never finds a digit is right in 99 % of the cells.

    python examples/focal_loss.py                            # digits
    python examples/focal_loss.py --data bccd.zip --epochs 12   # blood cells: red, white, platelets

On one processor core the digits take two and a half minutes with PyTorch.

One run with PyTorch: before training, background has 92 % of plain cross-entropy, 56 % of the focal
loss with γ = 0.5, 0.4 % with γ = 2. AP after eight epochs: cross-entropy 0.825, weighted
cross-entropy 0.897, focal loss 0.896 with γ = 0.5, 0.830 with γ = 2 and 0.707 with γ = 5; accuracy
0.999 for all of them (the curves: examples/results/focal_loss.png). So γ = 0.5 does better than
plain cross-entropy; γ = 2 learns fastest in the first two epochs, and ends no better. The paper's
gain over cross-entropy that is merely weighted is not here: γ = 0.5 only draws level with it, and
more is worse. On the blood cells, where one score in 267 should be yes, no γ up to 2 makes a
difference (AP 0.66 to 0.68). RetinaNet has 100,000 anchors a picture, and trains for 90,000 steps,
not for 300.
"""

import io
import json
import pathlib
import time
import xml.etree.ElementTree
import zipfile

import keras
import numpy as np
from _study import parse_arguments
from rich.console import Console
from rich.table import Table

import kdl
from kdl.losses import FocalLoss
from kdl.training import WarmUpCosine

# Name → (α, γ): the best α that the paper found for each γ.
LOSSES = {
    "cross-entropy": (None, 0.0),
    "weighted cross-entropy": (0.75, 0.0),
    "focal, γ = 0.5": (0.5, 0.5),
    "focal, γ = 2": (0.25, 2.0),
    "focal, γ = 5": (0.25, 5.0),
}
CELL, DIGIT, SHREDS = 4, 16, 30  # pixels, pixels, and how many in a scene
PRIOR = 0.01
CELLS_OF_BLOOD, BLOOD_SIZE = ("RBC", "WBC", "Platelets"), (120, 160)


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
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "results.json").write_text(json.dumps(rows, indent=1))
    print_table(rows)
    plot(rows, curves, arguments.output / "accuracy.png")
    print(f"Curves: {arguments.output / 'accuracy.png'}")


def run(name, alpha, gamma, train, test, classes, arguments):
    """The row of one loss, and its curve of precision over recall."""
    start = time.monotonic()
    keras.utils.set_random_seed(0)
    model = build(train[0].shape[1:], classes)
    loss = FocalLoss(alpha, gamma, from_logits=True, normalize_by_positives=True, reduction="sum")
    batch = max(arguments.batch_size // 4, 1)
    steps = arguments.epochs * -(-len(train[0]) // batch)
    schedule = WarmUpCosine(arguments.learning_rate, steps, warm_up_steps=steps // 10)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), loss)
    share = background_share(model, loss, *train)
    history = []
    for _ in range(arguments.epochs):
        model.fit(*train, batch_size=batch, verbose=0)
        scores = model.predict(test[0], batch_size=batch, verbose=0)
        history.append(average_precision(test[1], scores))
    row = {
        "name": name,
        "alpha": alpha,
        "gamma": gamma,
        "parameters": model.count_params(),
        "macs": kdl.applications.macs(model),
        "background_share": share,
        "accuracy": accuracy(test[1], scores),
        "average_precision": history[-1],
        "recall": recall(test[1], scores),
        "seconds": time.monotonic() - start,
        "history": history,
    }
    return row, precision_recall(test[1], scores)


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


# --- what is measured ----------------------------------------------------------------------------


def background_share(model, loss, pictures, labels):
    """Share of a batch's loss that its background has before training."""
    labels, scores = labels[:32], model.predict(pictures[:32], verbose=0)
    total, objects = (
        float(loss(labels, scores, sample_weight=weights.astype("float32")))
        for weights in (labels != -2, labels >= 0)
    )
    return 1 - objects / total


def known(labels, scores):
    """Labels and scores of the cells that are not left out, `(n,)` and `(n, classes)`."""
    kept = labels != -2
    return labels[kept], scores[kept]


def average_precision(labels, scores):
    """Mean over the classes of average precision."""
    from sklearn.metrics import average_precision_score

    labels, scores = known(labels, scores)
    there = [k for k in range(scores.shape[-1]) if (labels == k).any()]
    return float(np.mean([average_precision_score(labels == k, scores[:, k]) for k in there]))


def precision_recall(labels, scores):
    """The curve over all classes together: precision, recall."""
    from sklearn.metrics import precision_recall_curve

    labels, scores = known(labels, scores)
    wanted = labels[:, None] == np.arange(scores.shape[-1])
    return precision_recall_curve(wanted.ravel(), scores.ravel())[:2]


def accuracy(labels, scores):
    """Share of cells with the right answer: a class with a probability above ½, or background."""
    labels, scores = known(labels, scores)
    found = np.where(scores.max(-1) > 0, scores.argmax(-1), -1)
    return float(np.mean(found == labels))


def recall(labels, scores):
    """Share of the objects whose class has a probability above ½."""
    labels, scores = known(labels, scores)
    objects = labels >= 0
    return float(np.mean(scores[objects, labels[objects]] > 0))


# --- scenes --------------------------------------------------------------------------------------


def read_scenes(arguments):
    """`((pictures, labels of cells) of the training, of the test), number of classes`."""
    if arguments.data != "digits":
        scenes = blood(pathlib.Path(arguments.data))
        cut, classes = int(0.8 * len(scenes[0])), len(CELLS_OF_BLOOD)
        train, test = (tuple(part[s] for part in scenes) for s in (slice(cut), slice(cut, None)))
    else:
        train, test = (
            digit_scenes(count, arguments.size, *digits, seed)
            for count, digits, seed in zip(
                (600, 300), kdl.data.digits(size=DIGIT, channels=1), (0, 1), strict=True
            )
        )
        classes = 10
    limit = arguments.limit
    return tuple(part[:limit] for part in train), tuple(part[:limit] for part in test), classes


def digit_scenes(count, size, digits, labels, seed):
    """Scenes of one digit among shreds of others, each in a square of its own."""
    rng = np.random.default_rng(seed)
    side = size // DIGIT
    pictures, cells = [], []
    for _ in range(count):
        picture = rng.uniform(0, 0.2, (size, size, 1)).astype("float32")
        squares = rng.permutation(side**2)[: 1 + SHREDS]
        chosen = rng.integers(0, len(digits), len(squares))
        shift = rng.integers(-2, 3, 2)  # of the digit in its square
        for number, (square, which) in enumerate(zip(squares, chosen, strict=True)):
            digit = digits[which]
            drawn = np.roll(digit, shift, (0, 1)) if number == 0 else shred(digit, rng)
            top, left = DIGIT * np.array(divmod(square, side))
            area = picture[top : top + DIGIT, left : left + DIGIT]
            np.maximum(area, drawn, out=area)
        centre = DIGIT * (np.array(divmod(squares[0], side)) + 0.5) + shift
        pictures.append(picture)
        cells.append(label_cells([(labels[chosen[0]], *centre)], (size, size)))
    return np.stack(pictures), np.stack(cells)


def shred(digit, rng):
    """A quarter of a digit, put somewhere in its square."""
    half = DIGIT // 2
    (row, column), (top, left) = rng.integers(0, half + 1, (2, 2))
    found = np.zeros_like(digit)
    found[top : top + half, left : left + half] = digit[row : row + half, column : column + half]
    return found


def label_cells(objects, size):
    """Class of the object whose centre a cell has, −2 around it, −1 elsewhere."""
    labels = np.full((size[0] // CELL, size[1] // CELL), -1, "int32")
    last = np.array(labels.shape) - 1
    places = [
        (label, *np.clip((int(y // CELL), int(x // CELL)), 0, last)) for label, y, x in objects
    ]
    for _, row, column in places:
        labels[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = -2
    for label, row, column in places:
        labels[row, column] = label
    return labels


def blood(path):
    """Pictures and cells of an archive of pictures with VOC's annotations, in a fixed order."""
    from PIL import Image

    pictures, cells = [], []
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".xml"))
        for index in np.random.default_rng(0).permutation(len(names)):
            name = names[index]
            root = xml.etree.ElementTree.fromstring(archive.read(name))
            jpeg = name.replace("Annotations", "JPEGImages").replace(".xml", ".jpg")
            image = Image.open(io.BytesIO(archive.read(jpeg))).convert("RGB")
            scale = BLOOD_SIZE[0] / image.height, BLOOD_SIZE[1] / image.width
            objects = []
            for each in root.iter("object"):
                box = [
                    float(each.find(f"bndbox/{k}").text) for k in ("ymin", "ymax", "xmin", "xmax")
                ]
                centre = scale[0] * (box[0] + box[1]) / 2, scale[1] * (box[2] + box[3]) / 2
                objects.append((CELLS_OF_BLOOD.index(each.find("name").text), *centre))
            small = image.resize(BLOOD_SIZE[::-1], Image.Resampling.BOX)
            pictures.append(np.asarray(small, "float32") / 255)
            cells.append(label_cells(objects, BLOOD_SIZE))
    return np.stack(pictures), np.stack(cells)


# --- what is shown -------------------------------------------------------------------------------


def print_table(rows):
    """The result on the screen."""
    table = Table(title="Cells of scenes, nearly all of them background")
    columns = ("loss", "background before", "AP", "recall at ½", "accuracy", "seconds")
    for column in columns:
        table.add_column(column, justify="left" if column == "loss" else "right", no_wrap=True)
    for row in rows:
        share = f"{row['background_share']:.1%}"
        numbers = [f"{row[key]:.3f}" for key in ("average_precision", "recall")]
        seconds = f"{row['seconds']:.0f}"
        table.add_row(row["name"], share, *numbers, f"{row['accuracy']:.4f}", seconds)
    Console(width=max(Console().width, 100)).print(table)


def plot(rows, curves, path):
    """AP over the epochs, and precision over recall at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in rows:
        left.plot(range(1, len(row["history"]) + 1), row["history"], marker="o", label=row["name"])
        precision, found = curves[row["name"]]
        right.plot(found, precision, label=row["name"])
    left.set_xlabel("epoch")
    left.set_ylabel("average precision on the test scenes")
    right.set_xlabel("recall")
    right.set_ylabel("precision")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right" if axes is left else "lower left", fontsize="small")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
