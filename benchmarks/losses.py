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
