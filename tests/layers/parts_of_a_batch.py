"""A norm on two devices that hold parts of a batch: `parts_of_a_batch.py FILE`.

Saves, for each way to part it, the outputs and the gradients of the joined batch and the moving
averages of each device. `test_sync_batch_normalization.py` runs this in processes of its own.
"""

import sys

import keras
import numpy as np

from kdl.layers import SyncBatchNormalization
from kdl.ops.replicas import replica_number
from kdl.training import distribute

AXIS = "replica"
LARGE = 256.0  # by which squares no longer fit into half precision
BACKEND = keras.backend.backend()
# A mapped function of JAX has parts of one size.
SIZES = [(4, 4)] if BACKEND == "jax" else [(4, 4), (5, 3), (8, 0)]
FAR = 1000.0  # mean of inputs whose deviation is 0.1


def batch():
    """Inputs, and the gradients that come from above."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (8, 3, 4, 2)).astype("float32")
    return x, rng.standard_normal(x.shape).astype("float32")


def far(x):
    """Inputs whose mean is large beside their deviation."""
    return np.float32(FAR + 0.05 * (x - 3))


def make(cls=SyncBatchNormalization, **arguments):
    layer = cls(momentum=0.5, **arguments)
    layer.build((None, 3, 4, 2))
    layer.gamma.assign([0.5, 2.0])
    layer.beta.assign([1.0, -1.0])
    return layer


def on_torch(layer, x, dy, sizes):
    """This process's part alone; the first one gathers."""
    import torch
    from torch import distributed

    rows = np.split(np.arange(len(x)), [sizes[0]])[replica_number()]
    part = torch.tensor(x[rows], requires_grad=True)
    y = layer(part, training=True).float()
    (y * torch.tensor(dy[rows])).sum().backward()
    averages = (layer.moving_mean, layer.moving_variance)
    own = [y.detach(), part.grad, layer.gamma.value.grad, layer.beta.value.grad]
    own = [v.numpy() for v in own] + [[v.value.detach().numpy() for v in averages]]
    both = [None, None]
    distributed.all_gather_object(both, own)
    return joined(both)


def on_tensorflow(layer, x, dy, sizes):
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()
    parts = [np.split(v, [sizes[0]]) for v in (x, dy)]

    def spread(pair):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(pair[context.replica_id_in_sync_group])
        )

    @tf.function(reduce_retracing=True)
    def step(part, above):
        with tf.GradientTape() as tape:
            tape.watch(part)
            y = tf.cast(layer(part, training=True), "float32")
            loss = tf.reduce_sum(y * above)
        weights = [layer.gamma.value, layer.beta.value]
        averages = [tf.identity(v.value) for v in (layer.moving_mean, layer.moving_variance)]
        return y, *tape.gradient(loss, [part, *weights]), averages

    found = strategy.run(step, [spread(part) for part in parts])
    local = [[v.numpy() for v in strategy.experimental_local_results(f)] for f in found[:4]]
    averages = [[v.numpy() for v in strategy.experimental_local_results(f)] for f in found[4]]
    return joined([*zip(*local, zip(*averages, strict=True), strict=True)])


def on_jax(layer, x, dy, sizes):
    import jax

    names = ("gamma", "beta", "moving_mean", "moving_variance")
    weights = [getattr(layer, name).value for name in names]

    def step(part, above):
        def loss(part, gamma, beta):
            y, state = layer.stateless_call([gamma, beta], weights[2:], part, training=True)
            y = y.astype("float32")
            return (y * above).sum(), (y, state)

        grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)
        gradients, (y, state) = grad(part, *weights[:2])
        return y, *gradients, state

    parts = [v.reshape(2, len(v) // 2, *v.shape[1:]) for v in (x, dy)]
    found = jax.pmap(step, axis_name=AXIS)(*parts)
    return joined([jax.tree.map(lambda v, i=i: np.asarray(v[i]), found) for i in range(2)])


def joined(both):
    """Results of two devices as those of the joined batch, and the averages of each."""
    y, dx, dgamma, dbeta, averages = zip(*both, strict=True)
    return {
        "y": np.concatenate(y),
        "dx": np.concatenate(dx),
        "dgamma": sum(dgamma),
        "dbeta": sum(dbeta),
        "averages": np.array(averages),
    }


if __name__ == "__main__":
    saved = {}
    compute = {"torch": on_torch, "tensorflow": on_tensorflow, "jax": on_jax}[BACKEND]
    with distribute(2):
        for sizes in SIZES:
            found = compute(make(axis_name=AXIS), *batch(), sizes)
            saved.update({f"{sizes}/{name}": value for name, value in found.items()})
        x, dy = batch()
        found = compute(make(axis_name=AXIS), far(x), dy, SIZES[0])
        saved.update({f"far/{name}": value for name, value in found.items()})
        found = compute(make(axis_name=AXIS), x[:0], dy[:0], (0, 0))
        saved.update({f"none/{name}": value for name, value in found.items()})
        found = compute(make(axis_name=AXIS, dtype="mixed_float16"), LARGE * x, dy, SIZES[0])
        saved.update({f"half/{name}": value for name, value in found.items()})
    if replica_number() == 0:
        np.savez(sys.argv[1], **saved)
