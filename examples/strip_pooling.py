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

import json
import time

import keras
import numpy as np
from _segmentation import (
    Scenes,
    parse_arguments,
    plot_curves,
    plot_pictures,
    predict,
    print_tables,
    read_zip,
    scores,
)

from kdl.applications import ResNet, macs
from kdl.metrics import MeanIoU
from kdl.segmentation import SPNet
from kdl.training import WarmUpCosine

DRAWN = ["ground", "red row", "blue row", "red column", "blue column"]


def main():
    """Trains both networks and compares them."""
    arguments = parse_arguments(__doc__, "strip_pooling")
    arguments.output.mkdir(parents=True, exist_ok=True)
    splits, names = read_zip(arguments.data) if arguments.data else draw_all(arguments.smoke)
    rows, seen = [], {}
    for name, with_strips in (("without strips", False), ("strip pooling", True)):
        keras.utils.set_random_seed(0)
        model = network(splits["train"][0].shape[1:], len(names), with_strips)
        row, seen[name] = train_and_test(name, model, splits, names, arguments)
        rows.append(row)
    (arguments.output / "results.json").write_text(json.dumps(rows, indent=1))
    print_tables(rows, names, "SPNet with and without strip pooling: test pictures")
    plot_curves(rows, "SPNet: strips or not", arguments.output / "accuracy.png")
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
    heads = ("main", "auxiliary")
    train = Scenes(*splits["train"], arguments.batch_size, heads)
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
    held_out = Scenes(*splits["val"], arguments.batch_size, heads, augment=False)
    history = model.fit(
        train, validation_data=held_out, epochs=arguments.epochs, shuffle=False, verbose=2
    ).history
    seconds = time.monotonic() - start

    plain = model.inference_model()  # the auxiliary head has done its work
    predicted = predict(plain, splits["test"][0])
    row = {
        "name": name,
        "parameters": plain.count_params(),
        "macs": macs(plain),
        **scores(splits["test"][1], predicted, names),
        "seconds": seconds,
        "history": history["val_main_mean_iou"],
    }
    return row, predicted


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


if __name__ == "__main__":
    main()
