"""From `model.fit` to a proven int8 file in one script.

ShuffleNet V2 (Ma et al., 2018, arXiv 1807.11164) is built for phones: each unit passes half of its
channels untouched and convolves the other half,

    y = shuffle(concat(x₁, pointwise(depthwise(pointwise(x₂))))),

so that few multiply-adds and little memory traffic remain. Here its smallest form (350,000
parameters with ten classes) learns scikit-learn's handwritten digits, is exported as float32,
float16 and int8, and each file is run beside the model before it is trusted.

    make quickstart                        # or: python examples/quickstart.py

It takes two to three minutes on two CPU cores, with any backend (KERAS_BACKEND=tensorflow, jax or
torch), and writes `runs/quickstart/`: the model, three files for devices, a model card and plots.
`make saved-models` writes them where the repository keeps them.
"""

import argparse
import pathlib
import sys
import time

import keras
import numpy as np

import kdl
from kdl.data import ArrayDataset, InputSpec, ModelInfo, RandomShift
from kdl.deploy import (
    export_tflite,
    measure_latency,
    read_tflite,
    warm_converter,
    write_sidecar,
)
from kdl.training import (
    WarmUpCosine,
    format_table,
    plot_confusion_matrix,
    plot_history,
    save_portable,
)

CLASSES = [str(digit) for digit in range(10)]
SAVED = pathlib.Path(__file__).resolve().parent.parent / "saved_models" / "quickstart"
NEEDED_ACCURACY = 0.97


def main():
    """Trains, exports, verifies, measures and writes everything down."""
    arguments = parse_arguments()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    train, test = kdl.data.digits(size=arguments.size)
    if arguments.smoke:
        train = [part[:200] for part in train]
        model, rows = train_model(train, test, 1, 1e-4, SAVED / "model.keras")
    else:
        model, rows = train_model(train, test, arguments.epochs)
    spec = InputSpec((arguments.size, arguments.size))
    save_portable(model, folder / "model.keras", ModelInfo(CLASSES, spec))

    with warm_converter():  # the three exports start TensorFlow's converter once
        files = export_all(model, train, test, spec, folder)
    plot_history(rows, folder / "curves.png")
    predictions = model.predict(test[0], verbose=0).argmax(-1)
    plot_confusion_matrix(test[1], predictions, CLASSES, folder / "confusion.png")
    plot_files(files, folder / "files.png")
    write_card(files, arguments, folder / "README.md")

    print(format_table(files, COLUMNS, "ShuffleNet V2 0.5x on 360 test digits"))
    print(f"Done in {time.monotonic() - start:.0f} s; everything is in {folder}.")
    check_accuracy(files)


def parse_arguments():
    """Command line.

    `--smoke` only shows that all parts fit together: it goes on from the committed model for one
    epoch on a few images, which takes seconds.
    """
    parser = argparse.ArgumentParser(description="ShuffleNet V2 from model.fit to int8 TFLite.")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--size", type=int, default=48, help="height and width of the images")
    parser.add_argument("--output", type=pathlib.Path, default="runs/quickstart")
    parser.add_argument("--smoke", action="store_true")
    return parser.parse_args()


def train_model(train, test, epochs, learning_rate=0.02, weights=None, batch_size=32):
    """ShuffleNet V2 0.5x, AdamW, warm-up and cosine; images are moved by a few pixels."""
    keras.utils.set_random_seed(0)
    x_train, y_train = train
    shift = RandomShift(x_train.shape[1] // 16)
    dataset = ArrayDataset(x_train, y_train, batch_size, augment=shift)
    steps = epochs * len(dataset)

    model = kdl.applications.ShuffleNetV2(
        alpha=0.5, weights=weights, input_shape=x_train.shape[1:], classes=10
    )
    schedule = WarmUpCosine(learning_rate, total_steps=steps, warm_up_steps=steps // 10)
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(dataset, validation_data=test, epochs=epochs, shuffle=False, verbose=2)
    columns = history.history
    return model, [
        {"epoch": epoch + 1, **{name: values[epoch] for name, values in columns.items()}}
        for epoch in range(epochs)
    ]


def export_all(model, train, test, spec, folder):
    """One row a file: how faithful, how accurate, how large, how fast."""
    representative = train[0][:200]
    rows = []
    for quantization in ("float32", "float16", "int8"):
        path = folder / f"{quantization}.tflite"
        proof = export_tflite(
            model,
            path,
            quantization,
            representative_data=representative,
            verification_data=test,
            labels=CLASSES,
            input_spec=spec,
        )
        write_sidecar(path)
        rows.append(
            {
                "file": path.name,
                "kib": read_tflite(path).size / 1024,
                "ms": measure_latency(path, runs=300).median,
                "keras": proof.keras_accuracy,
                "accuracy": proof.tflite_accuracy,
                "agreement": proof.top1_agreement,
                "sqnr": proof.sqnr,
            }
        )
    return rows


COLUMNS = {
    "file": ("file", "{}"),
    "KiB": ("kib", "{:.0f}"),
    "median ms": ("ms", "{:.3f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "Keras": ("keras", "{:.4f}"),
    "agree": ("agreement", "{:.1%}"),
    "SQNR dB": ("sqnr", "{:.1f}"),
}


def plot_files(rows, path):
    """Size, latency and accuracy of the files, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    bars = {"KiB": "size in KiB", "median ms": "latency in ms", "accuracy": "test accuracy"}
    names = [row["file"].removesuffix(".tflite") for row in rows]
    for axes, (column, title) in zip(figure.subplots(1, 3), bars.items(), strict=True):
        key, form = COLUMNS[column]
        values = [row[key] for row in rows]
        drawn = axes.barh(names, values, color=["#4c72b0", "#55a868", "#c44e52"])
        labels = [form.format(value) for value in values]
        axes.bar_label(drawn, labels, label_type="center", color="white")
        axes.set_title(title)
        axes.invert_yaxis()
    figure.savefig(path, dpi=120)


def write_card(rows, arguments, path):
    """The model card."""
    head = " | ".join(COLUMNS)
    rule = " | ".join("---" for _ in COLUMNS)
    body = "\n".join(
        "| " + " | ".join(form.format(row[key]) for key, form in COLUMNS.values()) + " |"
        for row in rows
    )
    size = arguments.size
    path.write_text(
        f"""# ShuffleNet V2 0.5x on handwritten digits

Made by `python examples/quickstart.py` (`make quickstart`): {arguments.epochs} epochs on 1,437
images, tested on 360 others.

| {head} |
| {rule} |
{body}

Latency: median of 300 runs on one thread of the machine that trained it; compare the rows, not
machines. SQNR: signal-to-noise ratio of the file's probabilities against those of `model.keras`.

![Files](files.png)
![Learning curves](curves.png)
![Confusion matrix](confusion.png)

- **Input** `image`: (1, {size}, {size}, 3), RGB, pixels / 255. In `int8.tflite` the input is int8;
  its scale and zero point stand in the file and in the JSON beside it, which tells an application
  all that it must know.
- **Output** `probabilities`: (1, 10), the digits 0 to 9; `labels.txt` inside the file names them.
- **Data**: scikit-learn's `load_digits` (Alpaydin and Kaynak, UCI, CC BY 4.0), 8×8 images
  enlarged. Split: 80 % / 20 %, stratified, fixed.
- **Use**: to try kdl. It has seen only centered digits of 43 writers, bright on black.
- **License**: Apache-2.0, as kdl.
- **Made with**: Keras {keras.__version__} on {keras.backend.backend()}, NumPy {np.__version__},
  kdl {kdl.__version__}.
"""
    )


def check_accuracy(rows):
    """Ends with an error if a file or the model is worse than promised."""
    worst = min(min(row["accuracy"], row["keras"]) for row in rows)
    if worst < NEEDED_ACCURACY:
        sys.exit(f"error: test accuracy {worst:.4f} is below {NEEDED_ACCURACY}")


if __name__ == "__main__":
    main()
