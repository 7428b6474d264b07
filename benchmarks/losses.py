"""How fast losses are beside others', on each backend.

    python benchmarks/losses.py --losses focal

Each section of `SECTIONS` measures one loss with its gradient: contenders take turns in one
process, and the smallest time of each counts. A run replaces the sections that it measured, and
keeps the others. PyTorch's contenders come from torchvision (`pip install 'kdl[bench]'`).
"""

import numpy as np
from applications import import_torchvision
from layers import main, table, take_turns


def focal():
    """Focal loss and its gradient, 8 pictures × 12,000 anchors × 20 classes, 1 in 1,000 positive.

    On PyTorch beside `torchvision.ops.sigmoid_focal_loss` on the same tensors; on TensorFlow and
    JAX beside `keras.losses.BinaryFocalCrossentropy`, all compiled.
    """
    import keras

    from kdl.losses import FocalLoss

    rng = np.random.default_rng(0)
    logits = (2 * rng.standard_normal((8, 12_000, 20)) - 3).astype("float32")
    positive = rng.random((8, 12_000)) < 1e-3
    sparse = np.where(positive, rng.integers(0, 20, positive.shape), -1).astype("int32")
    dense = (sparse[..., None] == np.arange(20)).astype("float32")
    ours = FocalLoss(from_logits=True, reduction="sum")
    theirs = keras.losses.BinaryFocalCrossentropy(
        apply_class_balancing=True, from_logits=True, reduction="sum"
    )
    if keras.backend.backend() == "torch":
        other = {"torchvision.ops.sigmoid_focal_loss": (torchvision_focal_loss(), dense)}
    else:
        other = {"keras.losses.BinaryFocalCrossentropy": (theirs, dense)}
    losses = {**other, "FocalLoss": (ours, dense), "FocalLoss, sparse labels": (ours, sparse)}
    calls = {name: gradient_step(*each, logits) for name, each in losses.items()}
    scale = 20 if keras.backend.backend() != "torch" else 1  # Keras means over the classes
    values = [calls[name]() * (scale if name in other else 1) for name in calls]
    np.testing.assert_allclose(values, values[0], rtol=1e-4)
    return table("8 × 12,000 × 20", take_turns(calls), kind="loss")


SECTIONS = {"focal": focal}


def torchvision_focal_loss():
    """Torchvision's loss, as Keras calls one."""
    function = import_torchvision().ops.sigmoid_focal_loss
    return lambda y_true, y_pred: function(y_pred, y_true, reduction="sum")


def gradient_step(loss, y_true, y_pred):
    """A function that computes a loss and its gradient, compiled where Keras compiles; the value.

    The tensors are made here, once.
    """
    import keras

    y_true, y_pred = map(keras.ops.convert_to_tensor, (y_true, y_pred))
    steps = {"tensorflow": _tensorflow_step, "jax": _jax_step, "torch": _torch_step}
    return steps[keras.backend.backend()](loss, y_true, y_pred)


def _tensorflow_step(loss, y_true, y_pred):
    import tensorflow as tf

    @tf.function
    def step(y_true, y_pred):
        with tf.GradientTape() as tape:
            tape.watch(y_pred)
            value = loss(y_true, y_pred)
        return value, tape.gradient(value, y_pred)

    def call():
        value, gradient = step(y_true, y_pred)
        return float(value) if gradient is not None else None

    return call


def _jax_step(loss, y_true, y_pred):
    import jax

    step = jax.jit(jax.value_and_grad(lambda y_pred, y_true: loss(y_true, y_pred)))

    def call():
        value, gradient = step(y_pred, y_true)
        gradient.block_until_ready()
        return float(value)

    return call


def _torch_step(loss, y_true, y_pred):
    y_pred.requires_grad_()

    def call():
        y_pred.grad = None
        value = loss(y_true, y_pred)
        value.backward()
        return float(value.detach())

    return call


if __name__ == "__main__":
    main(__file__, SECTIONS, "loss", "Losses beside others'")
"""How fast losses are beside those of other libraries, on the same tensors.

    python benchmarks/losses.py --losses triplet

Each section of `SECTIONS` measures one loss, forward and backward: contenders take turns in one
process, and the smallest time of each counts. A run replaces the sections that it measured, and
keeps the others.
"""

import argparse
import ctypes
import json
import pathlib
import platform
import time

import numpy as np
from run import BACKENDS, run

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def triplet():
    """Triplet losses of 256 classes × 4 samples × 128 numbers, beside PyTorch Metric Learning's.

    Margin 0.2, Euclidean distances of normalised embeddings, mean over triplets that are not 0;
    mining included. Memory is what one call adds to the process at its peak; the other backends
    keep what they once had.
    """
    import keras

    labels = np.repeat(np.arange(256), 4)
    embeddings = np.random.default_rng(0).standard_normal((1024, 128)).astype("float32")
    rows = []
    for mining in ("batch_hard", "semi_hard", "batch_all"):
        calls, megabytes = {"TripletLoss": triplet_step(mining, labels, embeddings)}, {}
        if keras.backend.backend() == "torch":
            name, call = triplet_step_of_torch(mining, labels, embeddings)
            calls = {name: call, **calls}
            megabytes = {name: peak_memory(call) for name, call in calls.items()}
        for row in table(mining, take_turns(calls, turns=5)):
            rows.append({**row, "megabytes": megabytes.get(row["loss"])})
    return rows


def triplet_step(mining, labels, embeddings):
    """A function that computes kdl's loss and its gradient."""
    from kdl.losses import triplet_loss

    def loss(x):
        settings = {"mining": mining, "margin": 0.2, "convention": "pytorch_metric_learning"}
        return triplet_loss(labels, x, **settings)

    return value_and_gradient(loss, embeddings)


def triplet_step_of_torch(mining, labels, embeddings):
    """The name of PyTorch Metric Learning's loss, and a function that computes it likewise."""
    import torch
    from pytorch_metric_learning import losses, miners

    loss = losses.TripletMarginLoss(margin=0.2)
    miner = {
        "batch_hard": miners.BatchHardMiner(),
        "semi_hard": miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard"),
        "batch_all": None,
    }[mining]
    labels = torch.tensor(labels)
    name = "TripletMarginLoss" + (f" + {type(miner).__name__}" if miner else "")
    return name, value_and_gradient(
        lambda x: loss(x, labels, miner(x, labels) if miner else None), embeddings
    )


SECTIONS = {"triplet": triplet}


def value_and_gradient(loss, x):
    """A function that computes the mean of `loss(x)` and its gradient, compiled but on PyTorch."""
    import keras

    makers = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}
    return makers[keras.backend.backend()](lambda x: keras.ops.mean(loss(x)), x)


def _on_tensorflow(loss, x):
    import tensorflow as tf

    x = tf.constant(x)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x)
        return value, tape.gradient(value, x)

    return lambda: [found.numpy() for found in step()]


def _on_jax(loss, x):
    import jax

    step, x = jax.jit(jax.value_and_grad(loss)), jax.numpy.asarray(x)
    return lambda: jax.block_until_ready(step(x))


def _on_torch(loss, x):
    import torch

    x = torch.tensor(x, requires_grad=True)

    def step():
        value = loss(x)
        return value, torch.autograd.grad(value, x)

    return step


def peak_memory(call):
    """Megabytes by which the second call of a function raises the memory of the process."""
    call()
    status, reset = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    if not reset.exists():
        return None

    def kilobytes(name):
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    ctypes.CDLL(None).malloc_trim(0)  # what the first call left behind
    reset.write_text("5")  # the peak starts anew
    before = kilobytes("VmRSS")
    call()
    return (kilobytes("VmHWM") - before) / 1024


def table(case, times):
    """The rows of one case, with the ratio to its first contender."""
    base = next(iter(times.values()))
    return [
        {"case": case, "loss": name, "ms": milliseconds, "ratio": milliseconds / base}
        for name, milliseconds in times.items()
    ]


def take_turns(calls, turns=30):
    """Milliseconds of the fastest call of each, all in turns; the first two calls do not count."""
    times = {name: [] for name in calls}
    for turn in range(turns + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn > 1:
                times[name].append(time.perf_counter() - start)
    return {name: 1000 * min(found) for name, found in times.items()}


def main():
    """Measures on every backend, a process each, and writes both results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--losses", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps({name: SECTIONS[name]() for name in arguments.losses}))
        return
    path = RESULTS / "losses.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for backend in BACKENDS:
        found = run("losses.py", backend, "--here", "--losses", *arguments.losses)
        for name, rows in found.items():
            results.setdefault(name, {})[backend] = rows
    path.write_text(json.dumps(results, indent=1) + "\n")
    (RESULTS / "losses.md").write_text("\n".join(report(results)) + "\n")


def report(results):
    """The results as lines of Markdown: a table a section."""
    lines = ["# Losses beside those of other libraries", ""]
    lines += ["`python benchmarks/losses.py`; smallest time of all turns, in one process.", ""]
    for name, backends in sorted(results.items()):
        text = "\n".join(line.strip() for line in SECTIONS[name].__doc__.strip().splitlines())
        lines += [f"## {name}", "", text, ""]
        lines += ["| backend | case | loss | ms | ratio | MB |", f"|{' --- |' * 6}"]
        for backend, rows in backends.items():
            for row in rows:
                found = f"{row['loss']} | {row['ms']:.2f} | {row['ratio']:.3f}"
                memory = row.get("megabytes")
                found += " | " + ("" if memory is None else f"{memory:.0f}")
                lines.append(f"| {backend} | {row['case']} | {found} |")
        lines.append("")
    return [*lines, f"Machine: {platform.machine()}, Python {platform.python_version()}."]


if __name__ == "__main__":
    main()
