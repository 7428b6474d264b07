"""Losses that ask for overlap: Dice, Jaccard and Lovász beside cross-entropy.

Segmentation is judged by the intersection over union of the pixels of a class and those taken for
it, the Jaccard index `J = |A ∩ B| / |A ∪ B|`. Cross-entropy asks for something else: each pixel
counts alike, so a class of few pixels counts little. Three losses ask for overlap. With
probabilities `p` and truth `y` (1 or 0) of one class:

    Dice      1 − 2 Σ p·y / (Σ p + Σ y)                        (`keras.losses.Dice`)
    Jaccard   1 − Σ p·y / (Σ p + Σ y − Σ p·y)                  (`kdl.losses.JaccardLoss`)
    Lovász    Σ eₖ (Jₖ − Jₖ₋₁), with the errors e = |y − p| from large to small and Jₖ the
              Jaccard distance if the first k pixels are wrong (`kdl.losses.LovaszSoftmax`)

As `J = D / (2 − D)`, Dice and Jaccard order hard predictions alike; their gradients differ. Lovász
(Berman et al., 2018, arXiv 1705.08790) is the tightest convex surface through the distances of all
hard predictions; its authors report 63.06 % mean IoU on Cityscapes for ENet trained with it, and
recommend it for the end of a training that began with cross-entropy. So does the last row here: the
first half of the epochs with cross-entropy, the second with Lovász.

This script trains a small U-Net from the same start with each loss and compares the mean IoU.

    python examples/jaccard_loss.py                             # digits in noise, drawn here
    python examples/jaccard_loss.py --data nuclei.zip           # 2018 Data Science Bowl
    python examples/jaccard_loss.py --data camvid.zip --epochs 4

One run of each, six epochs, with PyTorch (whole batches were mirrored then, not each image).
Digits, IoU of the strokes, some 25 seconds a loss on one CPU core: cross-entropy 0.698, Dice 0.709,
Jaccard 0.711, Lovász 0.708, cross-entropy and then Lovász 0.701. Nuclei (428 images at 96×96, a
fifth for the test), IoU of the nuclei, some 70 seconds a loss: 0.748, 0.758, 0.719, 0.758 and 0.738
(the curves: examples/results/jaccard_loss.png). So Dice and Lovász gain a point on both; Jaccard
gains as much on the digits, and ends three points below cross-entropy on the nuclei, where it began
to learn an epoch later. That is one start, and another may well move a row by a point. The order
that the authors of Lovász recommend, after cross-entropy, shows no gain in so short a training.
"""

import pathlib
import time
import zipfile

import keras
import numpy as np
from _shared import load_label_maps, make_recipe, parse_arguments, report_segmentation

from kdl.applications import macs
from kdl.data import ArrayDataset, Augmentation, digit_masks, random_subset, read_instance_masks
from kdl.losses import JaccardLoss, LovaszSoftmax
from kdl.metrics import JaccardIndex
from kdl.segmentation import predict_labels, segmentation_scores

SIZE = 96  # of nuclei


def main():
    """Trains with each loss and compares."""
    defaults = {"epochs": 6, "learning_rate": 0.01, "batch_size": 8, "size": None}
    arguments = parse_arguments(__doc__, "jaccard_loss", **defaults)
    splits, names = read_scenes(arguments)
    rows, seen = [], {}
    for name, parts in losses(len(names)).items():
        keras.utils.set_random_seed(0)
        model = network(splits["train"][0].shape[1:], len(names))
        row, seen[name] = train_and_test(name, parts, model, splits, names, arguments)
        rows.append(row)
    title = "Losses of segmentation: test images"
    report_segmentation(rows, seen, splits["test"], names, title, arguments.output)


def losses(classes):
    """Name → the loss, or the losses of the parts of the training; `classes` is void."""
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=classes
    )
    lovasz = LovaszSoftmax(from_logits=True, ignore_class=classes)
    return {
        "cross-entropy": [cross_entropy],
        "Dice": [Dice(classes)],
        "Jaccard": [JaccardLoss(from_logits=True, smoothing=0.0, ignore_class=classes)],
        "Lovász": [lovasz],
        "cross-entropy, Lovász": [cross_entropy, lovasz],
    }


class Dice(keras.losses.Loss):
    """Keras's Dice loss of each class, with logits, labels and void pixels."""

    def __init__(self, classes):
        super().__init__(name="dice")
        self.classes = classes

    def call(self, y_true, y_pred):
        """Mean over the classes."""
        labels = keras.ops.cast(y_true, "int32")[..., None]
        truth = keras.ops.cast(labels == keras.ops.arange(self.classes), y_pred.dtype)
        known = keras.ops.cast(labels < self.classes, y_pred.dtype)
        found = keras.ops.softmax(y_pred) * known
        losses = keras.losses.dice(truth, found, axis=(0, 1, 2))
        return keras.ops.broadcast_to(keras.ops.mean(losses), (keras.ops.shape(y_pred)[0],))


def network(shape, classes, width=8):
    """A U-Net: three scales down, three up, what was fine joined again."""

    def convs(x, filters):
        for _ in range(2):
            x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
        return x

    x = inputs = keras.Input(shape)
    fine = []
    for scale in range(3):
        x = convs(x, width << scale)
        fine.append(x)
        x = keras.layers.MaxPooling2D(padding="same")(x)
    x = convs(x, width << 3)
    for scale in (2, 1, 0):
        height, breadth = fine[scale].shape[1:3]
        x = keras.layers.UpSampling2D(interpolation="bilinear")(x)
        x = keras.layers.CenterCrop(height, breadth)(x)  # where a scale had an odd size
        x = convs(keras.layers.Concatenate()([x, fine[scale]]), width << scale)
    return keras.Model(inputs, keras.layers.Conv2D(classes, 1)(x))


def train_and_test(name, parts, model, splits, names, arguments):
    """The row of the table, and the predictions for the test images."""
    start = time.monotonic()
    mirror = Augmentation([keras.layers.RandomFlip("horizontal")], labels="masks")
    recipe = make_recipe(arguments, weight_decay=0.01, augment=mirror)
    train, optimizer = recipe.dataset(splits["train"]), recipe.optimizer(len(splits["train"][0]))
    held_out = ArrayDataset(*splits["val"], recipe.batch_size, shuffle=False)
    history, begin = [], 0
    for number, loss in enumerate(parts, 1):
        end = round(arguments.epochs * number / len(parts))
        index = JaccardIndex(len(names), ignore_class=len(names), name="mean_iou")
        model.compile(optimizer, loss, metrics=[index])
        history += model.fit(
            train,
            validation_data=held_out,
            initial_epoch=begin,
            epochs=end,
            shuffle=False,
            verbose=2,
        ).history.get("val_mean_iou", [])
        begin = end
    seconds = time.monotonic() - start
    predicted = predict_labels(model, splits["test"][0])
    row = {
        "name": name,
        "parameters": model.count_params(),
        "macs": macs(model),
        **segmentation_scores(splits["test"][1], predicted, names),
        "seconds": seconds,
        "history": history,
    }
    return row, predicted


def read_scenes(arguments):
    """Dict of splits of images, read or drawn, and the names of their classes."""
    if arguments.data is None:
        counts = (16, 8, 8) if arguments.smoke else (300, 50, 200)
        parts = zip(("train", "val", "test"), ("train", "train", "test"), counts, strict=True)
        splits = {
            name: digit_masks(count, split=source, seed=seed)
            for seed, (name, source, count) in enumerate(parts)
        }
        return splits, ["background", "digit"]
    packed = zipfile.is_zipfile(arguments.data)
    root = (zipfile.Path if packed else pathlib.Path)(arguments.data)
    if not (root / "instances/").exists():
        return load_label_maps(arguments.data)
    images, instances = random_subset(read_instance_masks(arguments.data, SIZE))
    images, labels = images.astype("float32") / 127.5 - 1, (instances > 0).astype("int32")
    cuts = 7 * len(images) // 10, 8 * len(images) // 10
    parts = zip(np.split(images, cuts), np.split(labels, cuts), strict=True)
    return dict(zip(("train", "val", "test"), parts, strict=True)), ["background", "object"]


if __name__ == "__main__":
    main()
