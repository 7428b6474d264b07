"""Every loss of the library in one model, an output each: what two devices make of them.

A case is a loss of `kdl.losses` with its defaults, with one of its yes-or-no arguments turned round
or, where it counts the whole batch, with `reduction="sum"`; `MORE` adds what is chosen by other
arguments, and the sum of some that leave it to Keras. Which data a loss
takes is found by trying, so that a new loss becomes a case without being named here.
"""

import inspect

import keras
import numpy as np

import kdl
from kdl.ops.replicas import whole_batches

ROWS, ANCHORS, CLASSES, BATCH, RATE = 16, 6, 4, 8, 0.1
MORE = {
    "FocalLoss": [
        {"normalize_by_positives": True, "reduction": "sum", "background_class": 0},
        {"normalize_by_positives": True, "activation": "softmax", "background_class": 0},
    ],
    "HardNegativeMining": [{"normalize_by_positives": True, "reduction": "sum_over_batch_size"}],
    "JaccardLoss": [{"classes": "present"}],
    "LovaszSoftmax": [{"classes": "all"}],
    "RepulsionLoss": [{"reduction": "sum"}],
    "SmoothL1": [{"reduction": "sum"}],
    "TripletLoss": [
        {"mining": "batch_all", "margin": 0.2, "nonzero_mean": True},
        {"mining": "semi_hard", "margin": 0.2, "reduction": "sum"},
    ],
}


def formats():
    """Labels and predictions, by what they stand for; the halves of each batch differ."""
    rng = np.random.default_rng(0)
    late = np.arange(ROWS) % BATCH >= BATCH // 2

    def labels(*shape):
        drawn = rng.integers(0, CLASSES, (ROWS, *shape))
        return np.where(
            late.reshape(-1, *[1] * len(shape)) & (rng.random(drawn.shape) < 0.8), 0, drawn
        )

    def scores(*shape):
        return rng.uniform(0.2, 0.8, (ROWS, *shape)).astype("float32")

    shares = np.concatenate([labels(ANCHORS, 2), scores(ANCHORS, 1)], -1)
    corners = np.repeat(10.0 * rng.random((ROWS, 2, 2)), 2, 0).reshape(ROWS, 4, 2)
    truths = np.concatenate([corners, corners + 4 + rng.random(corners.shape)], -1)
    moved = truths + rng.uniform(0, 0.5, truths.shape)
    return {
        "labels": (labels(ANCHORS), scores(ANCHORS, CLASSES)),
        "maps": (labels(ANCHORS) > 0, scores(ANCHORS)),
        "mixed": (shares, scores(ANCHORS, CLASSES)),
        "boxes": (
            np.concatenate([truths, np.zeros((ROWS, 4, 1))], -1),
            np.concatenate([truths, moved], -1),
        ),
        "box pairs": (truths, moved),
        "embeddings": (rng.integers(0, 3, ROWS), rng.normal(size=(ROWS, 5)) + late[:, None]),
    }


def cases():
    """Dict: name → loss and the name of its format.

    Raises:
        ValueError: If a loss takes none of the formats.
    """
    found, data = {}, formats()
    for name in dir(kdl.losses):
        cls = getattr(kdl.losses, name)
        if not (inspect.isclass(cls) and issubclass(cls, keras.losses.Loss)):
            continue
        for number, arguments in enumerate(_variants(name, cls)):
            taken = next((form for form in data if _takes(cls(**arguments), *data[form])), None)
            if taken is not None:
                found[f"{name.lower()}_{number}"] = (cls(**arguments), taken)
            elif not arguments:
                raise ValueError(f"{name} takes none of {list(data)}: add labels and predictions.")
    return found


def _variants(name, cls):
    parameters = inspect.signature(cls).parameters.items()
    turned = [{key: not p.default} for key, p in parameters if isinstance(p.default, bool)]
    counts = hasattr(cls(), "axis_name") and cls().reduction != "sum"
    return [{}, *[{"reduction": "sum"}] * counts, *turned, *MORE.get(name, [])]


def _takes(loss, labels, predictions):
    with whole_batches():
        try:
            _shape_of(loss, labels[:BATCH], predictions[:BATCH].astype("float32"))
        except ValueError:
            return False
    return True


def _shape_of(loss, *arrays):
    if keras.backend.backend() != "jax":
        return loss(*arrays).shape
    import jax  # which would compile each operation by itself

    return jax.eval_shape(loss, *arrays)


def of_whole_batches(chosen):
    """Those of the cases whose loss is told the name of a mapped axis."""
    return {name: case for name, case in chosen.items() if hasattr(case[0], "axis_name")}


def train(chosen):
    """Dict: case → the change of its weights in two steps, and the loss reported.

    Args:
        chosen: From `cases`.
    """
    data = formats()
    x = {form: data[form][1].astype("float32") for form in data}
    inputs = {form: keras.Input(values.shape[1:], name=form) for form, values in x.items()}
    outputs = {name: _Scale(name=name)(inputs[form]) for name, (_, form) in chosen.items()}
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(RATE), {name: loss for name, (loss, _) in chosen.items()})
    before = {name: model.get_layer(name).get_weights()[0] for name in chosen}
    y = {name: data[form][0].astype("float32") for name, (_, form) in chosen.items()}
    history = model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0).history
    return {
        name: [model.get_layer(name).get_weights()[0] - before[name], history[f"{name}_loss"][0]]
        for name in chosen
    }


def whole(chosen):
    """Dict: case → gradient of the first batch, and its loss, on one device; JAX only."""
    import jax

    gradient = _gradient({name: loss for name, (loss, _) in chosen.items()}, chosen)
    found = jax.jit(gradient)(*_first_batch(chosen))
    return {name: [each[name] for each in found] for name in chosen}


def mapped(chosen):
    """The same from two devices that JAX maps over, a half of the batch each."""
    import jax

    axis, losses = "device", {}
    for name, (loss, _) in chosen.items():
        losses[name] = type(loss).from_config({**loss.get_config(), "axis_name": axis})
    weights, *batch = _first_batch(chosen)
    halves = jax.tree.map(lambda v: v.reshape(2, BATCH // 2, *v.shape[1:]), batch)
    gradient = jax.pmap(_gradient(losses, chosen), axis_name=axis, in_axes=(None, 0, 0))
    found = gradient(weights, *halves)
    joins = {name: np.sum if loss.reduction == "sum" else np.mean for name, loss in losses.items()}
    return {
        name: [join(np.asarray(each[name]), axis=0) for each in found]
        for name, join in joins.items()
    }


def _gradient(losses, chosen):
    import jax

    def total(weights, x, y):
        forms = {name: chosen[name][1] for name in losses}
        values = {
            name: loss(y[forms[name]], x[forms[name]] * weights[name])
            for name, loss in losses.items()
        }
        return sum(values.values()), values

    return jax.grad(total, has_aux=True)


def _first_batch(chosen):
    """Weights of one, predictions and labels."""
    y, x = (
        {form: pair[i][:BATCH].astype("float32") for form, pair in formats().items()}
        for i in (0, 1)
    )
    return {name: np.ones(x[form].shape[-1], "float32") for name, (_, form) in chosen.items()}, x, y


class _Scale(keras.layers.Layer):
    """Multiplies each of the last axis by a weight of its own."""

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale
