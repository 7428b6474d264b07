"""Training step and inference of kdl's networks beside three others.

    python -m benchmarks applications                        # all families, all backends: an hour
    python -m benchmarks applications --families mobilenet_v2 --backends jax torch

Batch 8 at the network's own size, float32. Each network is measured beside

- `stock`: the same network in stock Keras layers, which is `kdl.compression.flatten` of it,
- `keras.applications`' network of the paper, where there is one,
- `torch`: torchvision's or timm's, in PyTorch, where there is one: in PyTorch's default layout and
  with channels last, of which the table takes the faster, in `inference_mode`, and given images
  that already lie in that layout.

All live in one process of the backend, have all cores, and take turns, so that whatever else the
machine does hits all of them; of each the shortest step counts. Times are of this machine; the
ratios travel better.
The results are written to `benchmarks/results/`: `applications.csv`, a table, a bar chart.
"""

import csv
import json
import os
import time

from benchmarks._children import BACKENDS, RESULTS, make_parser, run, where
from benchmarks._torchvision import import_torchvision

BATCH = 8

# Name in kdl's registry → (class of keras.applications, library and name of the PyTorch network).
FAMILIES = {
    "shufflenet_v2_x1_0": (None, "torchvision", "shufflenet_v2_x1_0"),
    "mobilenet_a1_0": ("MobileNet", "timm", "mobilenetv1_100"),
    "mobilenet_v2_a1_0": ("MobileNetV2", "torchvision", "mobilenet_v2"),
    "squeezenet1_0": (None, "torchvision", "squeezenet1_0"),
    "shufflenet_x1_0_g3": (None, None, None),
    "resnext50_32x4d": (None, "torchvision", "resnext50_32x4d"),
    "se_resnet50": (None, "timm", "legacy_seresnet50"),
    "se_resnext50_32x4d": (None, "timm", "legacy_seresnext50_32x4d"),
    "scnet50": (None, None, None),
    "res2net50_26w_4s": (None, "timm", "res2net50_26w_4s"),
    "nasnet_mobile": ("NASNetMobile", None, None),
}
STEPS = ("train", "predict")
TORCH_LAYOUTS = ("torch", "torch channels_last")
_OTHERS = {
    "stock": "stock Keras",
    "keras.applications": "keras.applications",
    "torch": "torchvision, timm",
}


def main(arguments=None):
    """Measures in one process a family and backend, or, as the parent, all of them."""
    parser = make_parser("applications", __doc__)
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--seconds", type=float, default=20, help="time for each kind of step")
    parser.add_argument("--measure", action="store_true", help="measure here and print JSON")
    parser.add_argument("--draw", action="store_true", help="only table and chart, from the CSV")
    arguments = parser.parse_args(arguments)
    if arguments.measure:
        [family] = arguments.families
        print(json.dumps({"where": where(), "found": measure(family, arguments.seconds)}))
        return
    rows = read_rows()
    if arguments.draw:
        write(rows)
        return
    for family in arguments.families:
        for backend in arguments.backends:
            options = ["--families", family, "--seconds", arguments.seconds]
            done = run("applications", backend, "--measure", *options)
            rows[family, done["where"]] = done["found"]
            write(rows)


def measure(family, seconds):
    """Milliseconds an image, `{"train": {network: ms}, "predict": …}`."""
    import keras
    import numpy as np

    import kdl

    keras_class, library, torch_name = FAMILIES[family]
    ours = kdl.applications.create_model(family, classifier_activation=None)
    networks = {"kdl": KerasSteps(ours), "stock": KerasSteps(kdl.compression.flatten(ours))}
    runs_here = not (keras_class == "NASNetMobile" and keras.backend.backend() == "torch")
    if keras_class and runs_here:  # Keras refuses to build its NASNet on PyTorch
        theirs = getattr(keras.applications, keras_class)(weights=None, classifier_activation=None)
        networks["keras.applications"] = KerasSteps(theirs)
    if library:
        for layout in TORCH_LAYOUTS:
            networks[layout] = TorchSteps(library, torch_name, layout)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, *ours.input_shape[1:])).astype("float32")
    y = rng.integers(0, 1000, BATCH)
    return {step: take_turns(networks, step, x, y, seconds) for step in STEPS}


class KerasSteps:
    """A training step and a prediction of a Keras model."""

    def __init__(self, model):
        import keras

        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self.train = model.train_on_batch
        self.predict = lambda x, y: model.predict_on_batch(x)


class TorchSteps:
    """A training step and a prediction of a network of torchvision or timm, in one layout."""

    def __init__(self, library, name, layout):
        import torch

        torch.set_num_threads(os.cpu_count())
        last = layout == "torch channels_last"
        self.layout = torch.channels_last if last else torch.contiguous_format
        self._prepared = {}
        if library == "torchvision":
            torchvision = import_torchvision()
            self.model = torchvision.models.get_model(name)
        else:
            import_torchvision()
            import timm

            self.model = timm.create_model(name)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"  # as Keras chooses
        self.model.to(self.device, memory_format=self.layout)
        self.loss = torch.nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01)

    def train(self, x, y):
        """Forward, backward, update; the loss is read, as Keras does."""
        self.model.train()
        self.optimizer.zero_grad()
        loss = self.loss(self.model(self._images(x)), self._tensor(y))
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def predict(self, x, y):
        """Forward, without a graph of gradients."""
        import torch

        self.model.eval()
        with torch.inference_mode():
            return self.model(self._images(x)).cpu().numpy()

    def _images(self, x):
        """The images in this layout, made once: who uses PyTorch reads them in it."""
        if id(x) not in self._prepared:
            images = self._tensor(x).permute(0, 3, 1, 2)
            self._prepared[id(x)] = images.contiguous(memory_format=self.layout)
        return self._prepared[id(x)]

    def _tensor(self, x):
        import torch

        return torch.from_numpy(x).to(self.device)


def take_turns(networks, step, x, y, seconds):
    """Shortest time an image in ms of each network; each has the same share of the time.

    Who begins changes from round to round, since threads of one library may still spin when the
    next one starts.
    """
    for network in networks.values():  # compile
        getattr(network, step)(x, y)
    times = {name: [] for name in networks}
    names, share = list(networks), seconds / len(networks)
    while waiting := [name for name in names if sum(times[name]) < share]:
        for name in waiting:
            before = time.perf_counter()
            getattr(networks[name], step)(x, y)
            times[name].append(time.perf_counter() - before)
        names.append(names.pop(0))
    return {name: 1e3 * min(took) / BATCH for name, took in times.items()}


def read_rows():
    """What earlier runs measured, `{(family, where it ran): {step: {network: ms}}}`."""
    rows = {}
    path = RESULTS / "applications.csv"
    if path.exists():
        with path.open() as file:
            for row in csv.DictReader(file):
                result = rows.setdefault((row["family"], row["backend"]), {s: {} for s in STEPS})
                result[row["step"]][row["network"]] = float(row["ms"])
    return rows


def write(rows):
    """CSV, table and chart."""
    RESULTS.mkdir(exist_ok=True)
    order = {family: i for i, family in enumerate(FAMILIES)}

    def place(row):
        (family, where), _ = row
        return order[family], BACKENDS.index(where.split(",")[0]), where

    rows = dict(sorted(rows.items(), key=place))
    with (RESULTS / "applications.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["family", "backend", "step", "network", "ms"])
        for (family, backend), result in rows.items():
            for step in STEPS:
                for network, ms in result[step].items():
                    writer.writerow([family, backend, step, network, f"{ms:.3f}"])
    (RESULTS / "applications.md").write_text(table(rows))
    plot(rows, RESULTS / "applications.png")


def table(rows):
    """The table as Markdown; a ratio above 1 means that kdl is faster."""
    columns = ["network", "backend"]
    for step in ("training", "inference"):
        columns += [f"{step}, ms", *_OTHERS.values()]
    lines = [
        "# Training step and inference of kdl's networks",
        "",
        "`python -m benchmarks applications`; batch 8, float32, ms per image of kdl, and how many "
        "times as long the others take: the same network in stock Keras layers, the one of "
        "keras.applications, the one of torchvision or timm in PyTorch in whichever of its layouts "
        "is faster (* where only the default layout was measured). All of a row took turns in "
        f"one process. Where no GPU is named, it ran on {os.cpu_count()} CPU cores.",
        "",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    for (family, backend), result in rows.items():
        cells = [family, backend]
        for step in STEPS:
            times = result[step]
            cells.append(f"{times['kdl']:.1f}")
            cells += [ratio(times, name) for name in _OTHERS]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "What has no row that names a GPU was not measured on one.", ""]
    return "\n".join(lines)


def ratio(times, other):
    """How many times as long as kdl another network takes, as a cell of the table."""
    if other not in times:
        return "–"
    measured = [
        times[name] for name in (TORCH_LAYOUTS if other == "torch" else [other]) if name in times
    ]
    mark = "*" if other == "torch" and len(measured) < len(TORCH_LAYOUTS) else ""
    return f"{min(measured) / times['kdl']:.2f}×{mark}"


def plot(rows, path):
    """Bars: how many times as long as kdl the others take, for a training step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3 * len(BACKENDS)), layout="constrained")
    colors = {"stock": "#4c72b0", "keras.applications": "#dd8452", "torch": "#55a868"}
    for axes, backend in zip(figure.subplots(len(BACKENDS), 1), BACKENDS, strict=True):
        families = [family for family, b in rows if b == backend]
        for shift, (network, color) in enumerate(colors.items()):
            values = []
            for family in families:
                times = rows[family, backend]["train"]
                names = TORCH_LAYOUTS if network == "torch" else (network,)
                measured = [times[name] for name in names if name in times]
                values.append(min(measured) / times["kdl"] if measured else 0)
            places = [i + 0.27 * (shift - 1) for i in range(len(families))]
            axes.bar(places, values, 0.25, color=color, label=network)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_yscale("log")
        axes.set_xticks(range(len(families)), families, rotation=20, ha="right", fontsize=8)
        axes.set_ylabel("time over kdl's")
        axes.set_title(f"training step, {backend}")
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
