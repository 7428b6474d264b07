import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdl.losses import TripletLoss, triplet_loss
from kdl.ops import pairwise_distances
from kdl.testing import run_loss_test
from kdl.testing._gradients import gradients

# The fact sheet's batch: two classes of three.
POINTS = np.array([[0, 0], [1, 0], [0, 2], [3, 0], [3, 1], [2, 2]], "float32")
LABELS = np.array([0, 0, 0, 1, 1, 1])

# Classes of three, two, four and one.
UNEVEN = np.array([3, 0, 7, 7, 0, 3, 7, 3, 7, 9])

CASES = [
    dict(zip(("mining", "margin", "convention"), case, strict=True))
    for case in (
        ("batch_hard", 0.5, "kdl"),
        ("batch_hard", "soft", "kdl"),
        ("batch_hard", 0.5, "tensorflow_addons"),
        ("batch_hard", 0.5, "pytorch_metric_learning"),
        ("batch_all", 0.5, "kdl"),
        ("batch_all", "soft", "kdl"),
        ("batch_all", 0.5, "pytorch_metric_learning"),
        ("semi_hard", 0.5, "kdl"),
        ("semi_hard", "soft", "kdl"),
        ("semi_hard", 0.5, "tensorflow_addons"),
        ("semi_hard", 0.5, "tensorflow_similarity"),
        ("semi_hard", "soft", "tensorflow_similarity"),
        ("semi_hard", 0.5, "pytorch_metric_learning"),
    )
]


def name(case):
    return "-".join(str(value) for value in case.values())


def embeddings(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def mean(labels, x, **arguments):
    losses = triplet_loss(*map(keras.ops.convert_to_tensor, (labels, x)), **arguments)
    return float(keras.ops.mean(losses))


def triplets(d, labels, margin, mining, convention):
    """The triplets that count, as distances (D(a, p), D(a, n)), by loops over the definition."""
    total = convention in ("tensorflow_addons", "tensorflow_similarity")
    for a in range(len(d)):
        near = [d[a, j] for j in range(len(d)) if labels[j] == labels[a] and j != a]
        far = sorted(d[a, j] for j in range(len(d)) if labels[j] != labels[a])
        if mining == "batch_all":
            yield from ((p, n) for p in near for n in far)
        elif mining == "batch_hard":
            if total or (near and far):
                yield max(near, default=0), min(far, default=d[a].max())
        elif convention == "pytorch_metric_learning":
            yield from ((p, n) for p in near for n in far if p < n <= p + margin)
        else:
            if convention == "tensorflow_similarity":
                near = [max(near, default=0)]
            for p in near:
                if far or total:
                    yield p, next((n for n in far if n > p), far[-1] if far else 0)


def definition(labels, x, margin, mining, convention, distance="l2"):
    x = np.asarray(x, "float64")
    of_torch = convention == "pytorch_metric_learning"
    if of_torch or distance == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    d = {"l2": d, "squared_l2": d**2, "cosine": d**2 / 2}[distance]
    pairs = list(triplets(d, labels, margin, mining, convention))
    if margin == "soft":
        losses = [np.log1p(np.exp(p - n)) for p, n in pairs]
    else:
        losses = [max(margin + p - n, 0) for p, n in pairs]
        if of_torch:
            losses = [loss for loss in losses if loss > 0]
    return np.mean(losses) if losses else 0


@pytest.mark.parametrize(
    ("distance", "margin", "hard", "every", "nonzero"),
    [
        ("l2", 0.3, 0.357379, 0.092896, 0.418034),
        ("l2", 1.0, 0.882332, 0.294551, 0.706923),
        ("l2", "soft", 0.666546, 0.359994, None),
        ("squared_l2", 0.3, 0.866667, 0.177778, 0.8),
        ("squared_l2", 1.0, 1.333333, 0.333333, 1.5),
        ("squared_l2", "soft", 0.886631, 0.236404, None),
    ],
)
def test_worked_numbers(distance, margin, hard, every, nonzero):
    settings = {"distance": distance, "margin": margin}
    assert mean(LABELS, POINTS, **settings) == pytest.approx(hard, abs=2e-6)
    settings["mining"] = "batch_all"
    assert mean(LABELS, POINTS, **settings) == pytest.approx(every, abs=2e-6)
    if nonzero is not None:
        results = mean(LABELS, POINTS, nonzero_mean=True, **settings)
        assert results == pytest.approx(nonzero, abs=2e-6)


@pytest.mark.parametrize(
    ("distance", "margin", "addons", "similarity", "torch"),
    [
        ("l2", 0.3, 0.025, None, 0),
        ("l2", 1.0, 0.206786, 0.344536, 0.237082),
        ("squared_l2", 0.3, 0.025, None, 0),
        ("squared_l2", 1.0, 0.083333, 0.166667, 0),
    ],
)
def test_worked_numbers_of_semi_hard(distance, margin, addons, similarity, torch):
    settings = {"distance": distance, "margin": margin, "mining": "semi_hard"}
    for convention in ("kdl", "tensorflow_addons"):
        results = mean(LABELS, POINTS, convention=convention, **settings)
        assert results == pytest.approx(addons, abs=2e-6)
    if similarity is not None:
        results = mean(LABELS, POINTS, convention="tensorflow_similarity", **settings)
        assert results == pytest.approx(similarity, abs=2e-6)
    settings["convention"] = "pytorch_metric_learning"
    results = mean(LABELS, POINTS, normalize=False, **settings)
    assert results == pytest.approx(torch, abs=2e-6)


def test_worked_number_without_negatives():
    points, labels = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 0])
    settings = {"mining": "semi_hard", "margin": 1.0}
    results = mean(labels, points, convention="tensorflow_addons", **settings)
    assert results == pytest.approx(2.414214, abs=2e-6)
    assert mean(labels, points, **settings) == 0


@pytest.mark.every_backend
@pytest.mark.parametrize("case", CASES, ids=name)
def test_definition(case):
    other = ("squared_l2", "cosine")[CASES.index(case) % 2]
    for distance in ("l2", other):
        for labels in (UNEVEN, np.repeat(np.arange(5), 2)):
            x = embeddings(10, 4, seed=int(labels[0]))
            expected = definition(labels, x, distance=distance, **case)
            assert mean(labels, x, distance=distance, **case) == pytest.approx(expected, rel=1e-4)


def cube(x, loss):
    """Batch-all by the tensor of all triplets, for the gradients to be compared with."""
    ops, distances = keras.ops, pairwise_distances(x)
    same = UNEVEN[:, None] == UNEVEN[None]
    positive = same & ~np.eye(len(UNEVEN), dtype=bool)
    there = (positive[:, :, None] & ~same[:, None, :]).astype("float32")
    losses = ops.multiply(loss(distances[:, :, None] - distances[:, None, :]), there)
    return ops.sum(losses, axis=(1, 2)) * float(len(UNEVEN) / there.sum())


@pytest.mark.parametrize("margin", [0.5, "soft"])
def test_gradient_of_batch_all(margin):
    """That which the loop sums is that of all triplets at once."""
    x, ops = embeddings(10, 4), keras.ops
    loss = ops.softplus if margin == "soft" else lambda z: ops.relu(z + margin)
    results = gradients(
        lambda x: triplet_loss(UNEVEN, x, mining="batch_all", margin=margin), [], x
    )[1][0]
    expected = gradients(lambda x: cube(x, loss), [], x)[1][0]
    np.testing.assert_allclose(results, expected, atol=1e-5)
    assert np.abs(results).max() > 0.01


@pytest.mark.parametrize("case", CASES, ids=name)
def test_gradient(case):
    """Against central differences in float64; rows sum to zero, since a shift changes nothing."""
    x = embeddings(10, 4, seed=2)
    losses = lambda x: keras.ops.mean(triplet_loss(UNEVEN, x, **case))[None]  # noqa: E731
    results = gradients(losses, [], x)[1][0]
    scale = gradients(lambda x: x, [], np.ones(1, "float32"))[1][0]
    rng = np.random.default_rng(0)
    for _ in range(5):
        step = rng.standard_normal(x.shape)
        step *= 1e-6 / np.linalg.norm(step)
        up, down = (definition(UNEVEN, x + sign * step, **case) for sign in (1, -1))
        assert (results / scale * step).sum() == pytest.approx((up - down) / 2, rel=2e-3, abs=2e-10)
    if case["convention"] != "pytorch_metric_learning":
        np.testing.assert_allclose(results.sum(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("case", CASES[1::3] + CASES[-1:], ids=name)
def test_loss(case):
    """The edges: one class, no positives, a single positive, zeros, and duplicates everywhere."""
    run_loss_test(
        TripletLoss,
        {**case, "distance": "l2", "name": "triplet"},
        UNEVEN[:, None],
        embeddings(10, 4),
        function=triplet_loss,
        edge_cases=[
            (np.zeros(6, int), POINTS),
            (np.arange(6), POINTS),
            (np.array([0, 0, 0, 0, 0, 1]), POINTS),
            (LABELS, np.zeros_like(POINTS)),
            (LABELS, POINTS[[0, 0, 0, 0, 4, 4]]),
        ],
        atol=1e-4,
    )


@pytest.mark.parametrize("distance", ["squared_l2", "cosine"])
def test_loss_of_other_distances(distance):
    run_loss_test(
        TripletLoss,
        {"distance": distance, "mining": "batch_all", "margin": 0.5, "reduction": "none"},
        UNEVEN,
        embeddings(10, 4),
        edge_cases=[(LABELS, np.zeros_like(POINTS)), (LABELS, POINTS[[0, 0, 0, 0, 4, 4]])],
        atol=1e-4,
    )


@pytest.mark.parametrize("case", CASES, ids=name)
def test_degenerate_values(case):
    total = case["convention"] in ("tensorflow_addons", "tensorflow_similarity")
    if not total:
        for labels in (np.zeros(6, int), np.arange(6)):
            assert mean(labels, POINTS, **case) == 0
    # All distances are 0: every triplet costs the margin.
    cost = np.log(2) if case["margin"] == "soft" else case["margin"]
    if case["mining"] == "semi_hard" and case["convention"] == "pytorch_metric_learning":
        cost = 0  # of which no negative is farther than the positive
    assert mean(LABELS, np.ones_like(POINTS), **case) == pytest.approx(cost, rel=1e-5)
    assert np.isfinite(mean(LABELS[:1], POINTS[:1], **case))


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), index=st.integers(0, len(CASES) - 1))
def test_permuted_samples_and_classes_agree(seed, index):
    rng = np.random.default_rng(seed)
    x, case = embeddings(10, 4, seed=seed), CASES[index]
    results = mean(UNEVEN, x, **case)
    order = rng.permutation(10)
    assert mean(UNEVEN[order], x[order], **case) == pytest.approx(results, rel=1e-4, abs=1e-6)
    names = rng.permutation(100) - 50
    assert mean(names[UNEVEN], x, **case) == pytest.approx(results, rel=1e-4, abs=1e-6)
    limit = max(margin_of(case), 0) + np.linalg.norm(x[:, None] - x[None], axis=-1).max()
    assert 0 <= results <= limit


def margin_of(case):
    return np.log(2) if case["margin"] == "soft" else case["margin"]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_memory(case):
    """No tensor of forward and backward pass is larger than (B, B), or holds all differences."""
    batch, dimension = 40, 30
    labels = np.repeat(np.arange(8), 5)
    largest = LARGEST[keras.backend.backend()](
        lambda x: keras.ops.sum(triplet_loss(labels, x, **case)), embeddings(batch, dimension)
    )
    assert batch * batch <= largest <= 2 * batch * batch


def _largest_of_torch(function, x):
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, call, types, args=(), kwargs=None):
            result = call(*args, **(kwargs or {}))
            for tensor in keras.tree.flatten(result):
                if isinstance(tensor, torch.Tensor):
                    self.largest = max(self.largest, tensor.numel())
            return result

    x = keras.ops.convert_to_tensor(x).requires_grad_()
    with Watch() as watch:
        function(x).backward()
    return watch.largest


def _largest_of_jax(function, x):
    import jax

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (np.prod(v.aval.shape) for v in equation.outvars)
            for inner in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda p: hasattr(p, "jaxpr")
            ):
                if hasattr(inner, "jaxpr"):
                    yield from sizes(inner.jaxpr)

    return max(sizes(jax.make_jaxpr(jax.grad(function))(x).jaxpr))


def _largest_of_tensorflow(function, x):
    import tensorflow as tf

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = function(x)
        return tape.gradient(loss, x)

    graph = gradient.get_concrete_function(tf.constant(x)).graph
    definition = graph.as_graph_def(add_shapes=True)
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    shapes = [s for n in nodes for s in n.attr["_output_shapes"].list.shape]
    return max(np.prod([d.size for d in s.dim]) for s in shapes if all(d.size >= 0 for d in s.dim))


LARGEST = {
    "torch": _largest_of_torch,
    "jax": _largest_of_jax,
    "tensorflow": _largest_of_tensorflow,
}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mining": "hard"}, "mining must be one of"),
        ({"distance": "l1"}, "distance must be one of"),
        ({"convention": "keras"}, "convention must be one of"),
        ({"margin": -1}, "margin must be a number that is not negative, or 'soft'; received -1"),
        ({"margin": "hard"}, "margin must be"),
        ({"margin": float("nan")}, "margin must be"),
        ({"nonzero_mean": True}, "nonzero_mean=True needs a number as margin"),
        (
            {"mining": "semi_hard", "convention": "pytorch_metric_learning"},
            "received margin='soft'",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TripletLoss(**arguments)
    with pytest.raises(ValueError, match=message):
        triplet_loss(LABELS, POINTS, **arguments)


@pytest.mark.parametrize(
    ("labels", "x", "message"),
    [
        (LABELS[:5], POINTS, r"labels must have the shape .* \(6, 2\); received \(5,\)"),
        (np.eye(6), POINTS, r"received \(6, 6\). Of one-hot labels take the argmax"),
        (LABELS, POINTS[:, 0], r"embeddings must have the shape .* received \(6,\)"),
        (LABELS + 0.5, POINTS, "labels must be integers"),
        (LABELS + 2.0**24, POINTS, "labels must be integers, below 16777216"),
        (LABELS, POINTS * np.float32(np.nan), "embeddings must be finite"),
        (LABELS, POINTS * np.float32(1e30), "embeddings must be finite"),
    ],
)
def test_bad_input(labels, x, message):
    with pytest.raises(ValueError, match=message):
        TripletLoss()(labels.astype("float32"), x)


def test_large_integer_labels():
    """Integers that float32 cannot tell apart, where no Keras loss has cast them."""
    far = 2**30 + LABELS.astype("int32")
    assert mean(far, POINTS, margin=1.0) == pytest.approx(0.882332, abs=2e-6)


def test_batches_of_any_size():
    """Where the batch size is not known when the step is compiled; the last batch is smaller."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    x, y = embeddings(10, 4), np.arange(10) % 3
    for mining in ("batch_hard", "batch_all", "semi_hard"):
        loss = TripletLoss(mining, margin=0.5)
        model.compile(keras.optimizers.SGD(0.1), loss)
        results = model.evaluate(x, y, batch_size=6, verbose=0)
        z = model.predict(x, verbose=0)
        expected = (6 * float(loss(y[:6], z[:6])) + 4 * float(loss(y[6:], z[6:]))) / 10
        assert results == pytest.approx(expected, rel=1e-5)
        before = model.get_weights()[0]
        assert np.isfinite(model.fit(x, y, batch_size=6, epochs=2, verbose=0).history["loss"]).all()
        assert (model.get_weights()[0] != before).any()


@pytest.mark.parametrize("shift", [2**32, -(2**32), 2**31])
def test_labels_beyond_int32_keep_their_classes(shift):
    labels = np.array([0, 0, shift, shift])
    embeddings = np.float32([[0.0], [1.0], [1.1], [2.1]])
    results = triplet_loss(labels, embeddings, margin=1.0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(results), [0.9, 1.9, 1.9, 0.9], atol=1e-5)
