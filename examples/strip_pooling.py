"""Strip pooling: context along rows and columns, for segmentation.

Hou et al., 2020 (arXiv 2003.13328) say that square windows see too much and too little of what is
long and thin, such as a pole, a fence or a curb. They average over strips one pixel wide,

    rows[i] = mean_j x[i, j],    columns[j] = mean_i x[i, j],

convolve each along itself, and let every pixel add what its row and its column tell:

    y[i, j] = x[i, j] · σ(W · relu(rows'[i] + columns'[j]) + b)        (`kdl.layers.StripPooling`)

This gate stands in the residual blocks of the backbone. In the head, `kdl.layers.MixedPooling`
joins strips, for what is far, with grids of averages, for what is near. SPNet is both on a dilated
ResNet; with 101 layers, trained from ImageNet's weights, it reached a mean IoU of 45.60 % on
ADE20K.

This script trains a small SPNet and the same network without either from scratch, on the same
images for as many epochs, and shows what each makes of a scene. Pixels whose class nobody knows
count in neither loss nor result.

    python examples/strip_pooling.py                     # scenes that it draws itself
    python examples/strip_pooling.py --data camvid.zip --epochs 10

A zip file holds `<split>/images/*.jpg` and `<split>/labels/*.png` for the splits train, val and
test, all of one size; a label is the number of its class, or the number after the last one where
the class is unknown. CamVid in this form: classes 0 to 10, and 11.

One run on CamVid (367 training images of 240×180; whole batches were mirrored then, not each image)
with PyTorch, 10 epochs of about 40 seconds for each network on a busy CPU core. Mean IoU on the
validation and the test images: 0.424 and 0.357 without strips, 0.441 and 0.349 with them, for 62 %
more parameters and 32 % more multiply-adds. So at this size, after so short a training, the paper's
gain is not to be seen; both networks miss poles and signs altogether. (Curves:
examples/results/strip_pooling.png; what they see, strips on the right:
examples/results/strip_pooling_pictures.png.)
"""

import time

import keras
from _shared import load_label_maps, make_recipe, parse_arguments, report_segmentation

from kdl.applications import ResNet, macs
from kdl.data import ArrayDataset, Augmentation, bar_masks
from kdl.metrics import MeanIoU
from kdl.segmentation import SPNet, predict_labels, segmentation_scores

DRAWN = ["ground", "red row", "blue row", "red column", "blue column"]
DRAWN_IMAGES = {"train": 400, "val": 80, "test": 80}


def main():
    """Trains both networks and compares."""
    defaults = {"epochs": 20, "learning_rate": 0.004, "batch_size": 8, "size": None}
    arguments = parse_arguments(__doc__, "strip_pooling", **defaults)
    splits, names = read_scenes(arguments)
    rows, seen = [], {}
    for name, with_strips in (("without strips", False), ("strip pooling", True)):
        keras.utils.set_random_seed(0)
        model = network(splits["train"][0].shape[1:], len(names), with_strips)
        row, seen[name] = train_and_test(name, model, splits, names, arguments)
        rows.append(row)
    title = "SPNet with and without strip pooling: test images"
    report_segmentation(rows, seen, splits["test"], names, title, arguments.output)


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


def for_both_heads(x, y, rng):
    """Keras wants targets for each output."""
    return x, {"main": y, "auxiliary": y}


for_both_heads.takes_labels = True


def train_and_test(name, model, splits, names, arguments):
    """The row of the table, and the predictions for the test images."""
    start, void = time.monotonic(), len(names)
    mirror = Augmentation([keras.layers.RandomFlip("horizontal")], labels="masks")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=void)
    recipe = make_recipe(arguments, weight_decay=0.01, augment=[mirror, for_both_heads])
    model.compile(
        recipe.optimizer(len(splits["train"][0])),
        {"main": loss, "auxiliary": loss},
        loss_weights=model.loss_weights,
        metrics={"main": MeanIoU(void, ignore_class=void)},
    )
    held_out = ArrayDataset(*splits["val"], recipe.batch_size, False, augment=for_both_heads)
    history = model.fit(
        recipe.dataset(splits["train"]),
        validation_data=held_out,
        epochs=recipe.epochs,
        shuffle=False,
        verbose=2,
    ).history
    seconds = time.monotonic() - start

    stripped = model.inference_model()  # the auxiliary head has done its work
    predicted = predict_labels(stripped, splits["test"][0])
    row = {
        "name": name,
        "parameters": stripped.count_params(),
        "macs": macs(stripped),
        **segmentation_scores(splits["test"][1], predicted, names),
        "seconds": seconds,
        "history": history["val_main_mean_iou"],
    }
    return row, predicted


def read_scenes(arguments):
    """Dict of splits of scenes, read or drawn, and the names of their classes."""
    if arguments.data is None:
        counts = dict.fromkeys(DRAWN_IMAGES, 8) if arguments.smoke else DRAWN_IMAGES
        return {split: bar_masks(n, seed=i) for i, (split, n) in enumerate(counts.items())}, DRAWN
    return load_label_maps(arguments.data)


if __name__ == "__main__":
    main()
