"""How fast losses are beside others', on each backend.

    python -m benchmarks losses --losses focal

Each section of `SECTIONS` measures one loss with its gradient: contenders take turns in one
process, and the smallest time of each counts. A run replaces the sections that it measured, and
keeps the others. PyTorch's contenders come from torchvision and PyTorch Metric Learning
(`pip install '.[bench]'`).
"""

import ctypes
import pathlib

import numpy as np

from benchmarks._sections import measure_sections, table, take_turns
from benchmarks._torchvision import import_torchvision


def main(arguments=None):
    """Measures on every backend and writes the results."""
    title = "Losses beside others'"
    measure_sections("losses", SECTIONS, "loss", title, __doc__, arguments)


def focal():
    """Focal loss and its gradient, 8 images × 12,000 anchors × 20 classes, 1 in 1,000 positive.

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
    calls = {name: focal_step(*each, logits) for name, each in losses.items()}
    scale = 20 if keras.backend.backend() != "torch" else 1  # Keras means over the classes
    values = [
        keras.ops.convert_to_numpy(call()[0]) * (scale if name in other else 1)
        for name, call in calls.items()
    ]
    np.testing.assert_allclose(values, values[0], rtol=1e-4)
    return table("8 × 12,000 × 20", take_turns(calls), kind="loss")


def triplet():
    """Triplet losses of 1024 embeddings of 128 numbers, beside PyTorch Metric Learning's.

    256 classes × 4 samples, and 32 classes × 32 samples. Margin 0.2, Euclidean distances of
    normalized embeddings, mean over triplets that are not 0; mining included. Memory is what one
    call adds to the process at its peak; the other backends keep what they once had.
    """
    embeddings = np.random.default_rng(0).standard_normal((1024, 128)).astype("float32")
    rows = []
    for classes in (256, 32):
        labels = np.repeat(np.arange(classes), 1024 // classes)
        for mining in ("batch_hard", "semi_hard", "batch_all"):
            rows += triplet_rows(mining, labels, embeddings)
    return rows


def triplet_rows(mining, labels, embeddings):
    """The rows of one way of mining, with what a call adds to the memory on PyTorch."""
    import keras

    calls, megabytes = {"TripletLoss": triplet_step(mining, labels, embeddings)}, {}
    if keras.backend.backend() == "torch":
        name, call = triplet_step_of_torch(mining, labels, embeddings)
        calls = {name: call, **calls}
        megabytes = {name: peak_memory(call) for name, call in calls.items()}
    classes = labels[-1] + 1
    case = f"{classes} × {len(labels) // classes}, {mining}"
    rows = []
    for row in table(case, take_turns(calls, turns=5), kind="loss"):
        size = megabytes.get(row["loss"])
        more = "" if size is None else f", {size:.0f} MB"
        rows.append({**row, "loss": row["loss"] + more, "megabytes": size})
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
    from pytorch_metric_learning import losses, miners

    loss = losses.TripletMarginLoss(margin=0.2)
    miner = {
        "batch_hard": miners.BatchHardMiner(),
        "semi_hard": miners.TripletMarginMiner(margin=0.2, type_of_triplets="semihard"),
        "batch_all": None,
    }[mining]
    labels = on_device(labels)
    name = "TripletMarginLoss" + (f" + {type(miner).__name__}" if miner else "")
    return name, value_and_gradient(
        lambda x: loss(x, labels, miner(x, labels) if miner else None), embeddings
    )


SECTIONS = {"focal": focal, "triplet": triplet}


def torchvision_focal_loss():
    """Torchvision's loss, as Keras calls one."""
    function = import_torchvision().ops.sigmoid_focal_loss
    return lambda y_true, y_pred: function(y_pred, y_true, reduction="sum")


def focal_step(loss, y_true, y_pred):
    """A function that computes a loss of logits and its gradient."""
    import keras

    y_true = keras.ops.convert_to_tensor(y_true)
    return value_and_gradient(lambda y_pred: loss(y_true, y_pred), y_pred)


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

    x = on_device(x).requires_grad_()

    def step():
        value = loss(x)
        found = value, torch.autograd.grad(value, x)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return found

    return step


def on_device(x):
    """A tensor where Keras keeps its own."""
    import keras

    return keras.ops.convert_to_tensor(x)


def peak_memory(call):
    """Megabytes that the second call of a function adds, to a GPU's memory or to the process."""
    import torch

    call()
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
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
