import copy
import json

import keras
import numpy as np
import pytest
from keras import ops

from kdl import layers
from kdl.applications import ShuffleNetV2
from kdl.compression import (
    ConstantSparsity,
    PolynomialSparsity,
    PrunedModel,
    SparsitySchedule,
    fold_batch_norm,
    measure_sparsity,
    prune,
    quantize_aware,
    strip,
)
from kdl.testing import _checks
from kdl.training import save_portable

K = keras.layers


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def dense(*sizes):
    """A chain of dense layers with weights that are all different from zero."""
    x = inputs = keras.Input((sizes[0],))
    for i, size in enumerate(sizes[1:]):
        x = K.Dense(size, name=f"dense_{i}")(x)
    return keras.Model(inputs, x, name="chain")


def kernels(model):
    return [numpy(kernel) for kernel in model.kernels]


def data(samples=64, width=8, outputs=4):
    rng = np.random.default_rng(0)
    shapes = (samples, width), (samples, outputs)
    return [rng.standard_normal(shape).astype("float32") for shape in shapes]


def reference_mask(w, sparsity):
    kept = max(round(w.size * (1 - sparsity)), 1)
    return np.abs(w) >= np.sort(np.abs(w), axis=None)[-kept]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("w", "sparsity", "mask"),
    [
        ([0.5, -0.1, 0.3, -0.7, 0.05, 0.2, -0.4, 0.6], 0.5, [1, 0, 0, 1, 0, 0, 1, 1]),
        ([0.5, -0.5, 0.5, -0.5, 0.1, 0.2, 0.3, 0.4], 0.75, [1, 1, 1, 1, 0, 0, 0, 0]),  # ties stay
        ([0.5, -0.1, 0.3, -0.7, 0.05, 0.2, -0.4, 0.6], 0.99, [0, 0, 0, 1, 0, 0, 0, 0]),  # one stays
    ],
)
def test_worked_numbers(w, sparsity, mask):
    model = dense(8, 1)
    w = np.array(w, "float32").reshape(8, 1)
    model.layers[1].kernel.assign(w)
    found = numpy(strip(prune(model, ConstantSparsity(sparsity))).layers[1].kernel)
    np.testing.assert_array_equal(found[:, 0] != 0, np.array(mask, bool))
    np.testing.assert_array_equal(found, np.where(found != 0, w, 0))
    np.testing.assert_array_equal(numpy(model.layers[1].kernel), w)  # left alone


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=1.0),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, momentum=0.5),
    "lion": lambda: keras.optimizers.Lion(0.01, weight_decay=0.1),
    "average": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5),
    "accumulating": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}


class Watch(keras.callbacks.Callback):
    """Notes kernels and masks after each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        masks = [numpy(mask) for mask in self.model.masks]
        self.seen.append((int(self.model.step), kernels(self.model), masks))


@pytest.mark.every_backend
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zeros_after_every_step(optimizer):
    """Masks are chosen after steps 3, 5, 7 and 8; weights outside are zero after each."""
    schedule = PolynomialSparsity(0.75, end_step=8, begin_step=3, frequency=2)
    pruned = prune(dense(8, 16, 4), schedule)
    pruned.compile(OPTIMIZERS[optimizer](), "mse")
    watch = Watch()
    pruned.fit(*data(), batch_size=8, epochs=2, verbose=0, callbacks=[watch])
    assert [step for step, _, _ in watch.seen] == [*range(1, 17)]
    before = [np.ones_like(w, bool) for w in kernels(pruned)]
    for step, found, masks in watch.seen:
        for w, mask, old in zip(found, masks, before, strict=True):
            assert np.all(w[~mask] == 0)
            assert np.all(w[mask] != 0)
            if step in (3, 5, 7, 8):
                kept = max(round(w.size * (1 - float(schedule(step)))), 1)
                assert mask.sum() == kept
                assert not np.any(mask & ~old)  # what was pruned stays pruned
            else:
                np.testing.assert_array_equal(mask, old)
        before = masks
    for w, mask in zip(kernels(pruned), before, strict=True):
        assert np.all(w[~mask] == 0)
    assert float(measure_sparsity(pruned).sparsity) == 0.75


@pytest.mark.every_backend
def test_the_mask_is_that_of_the_weights_that_the_optimizer_made():
    """One step of plain SGD, once with pruning and once without."""
    model = dense(8, 4)
    pruned = prune(model, ConstantSparsity(0.5, begin_step=1))
    for net in (model, pruned):
        net.compile(keras.optimizers.SGD(0.1), "mse")
        net.fit(*data(16), batch_size=16, verbose=0)
    w = numpy(model.layers[1].kernel)
    expected = np.where(reference_mask(w, 0.5), w, 0)
    np.testing.assert_allclose(kernels(pruned)[0], expected, atol=1e-6)


@pytest.mark.every_backend
def test_pruned_weights_do_not_grow_back():
    """Steps so large that every weight outside the mask would be among the largest."""
    schedule = PolynomialSparsity(0.5, end_step=2, initial_sparsity=0.5, frequency=1)
    pruned = prune(dense(8, 4), schedule)
    [before] = [w != 0 for w in kernels(pruned)]
    pruned.compile(keras.optimizers.SGD(10.0), "mse")
    pruned.fit(*data(32), batch_size=16, verbose=0)
    np.testing.assert_array_equal(kernels(pruned)[0] != 0, before)


@pytest.mark.every_backend
@pytest.mark.parametrize("eager", [False, True])
def test_mixed_precision_and_eager_steps(eager):
    dtype = keras.DTypePolicy("mixed_float16")
    inputs = keras.Input((8,))
    model = keras.Model(inputs, K.Dense(4, dtype=dtype)(inputs))
    pruned = prune(model, PolynomialSparsity(0.5, end_step=2, frequency=1))
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    pruned.compile(optimizer, "mse", run_eagerly=eager)
    pruned.fit(*data(32), batch_size=8, verbose=0)
    assert int(pruned.step) == 4
    assert measure_sparsity(pruned).sparsity == 0.5


@pytest.mark.every_backend
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="not in Keras on PyTorch")
def test_several_steps_in_one_execution():
    pruned = prune(dense(8, 16, 4), PolynomialSparsity(0.5, end_step=3, frequency=1))
    pruned.compile("adam", "mse", steps_per_execution=4)
    pruned.fit(*data(64), batch_size=8, verbose=0)
    assert int(pruned.step) == 8
    assert measure_sparsity(pruned).sparsity == 0.5


@pytest.mark.every_backend
def test_global_scope_compares_all_kernels():
    model = dense(8, 16, 4)
    first, second = model.layers[1].kernel, model.layers[2].kernel
    second.assign(0.01 * numpy(second))
    everything = np.concatenate([numpy(w).ravel() for w in (first, second)])
    pruned = prune(model, ConstantSparsity(0.5), scope="global")
    found = np.concatenate([w.ravel() for w in kernels(pruned)])
    np.testing.assert_array_equal(found != 0, reference_mask(everything, 0.5))
    shares = [row.sparsity for row in measure_sparsity(pruned).layers]
    assert shares[0] < 0.5 < shares[1]


def two_of_four(w):
    """Plain NumPy: in each four of the last axis the two largest."""
    mask = np.zeros(w.shape, bool)
    for index in np.ndindex(w.shape[:-1]):
        for start in range(0, w.shape[-1], 4):
            block = np.abs(w[index][start : start + 4])
            kept = np.argsort(-block, kind="stable")[:2]
            mask[index][start + kept] = True
    return mask


@pytest.mark.parametrize(
    ("layer", "channels", "axis"),
    [
        (lambda: K.Conv2D(5, 3), 8, 2),
        (lambda: layers.GroupedConv2D(6, 1, groups=2), 12, 2),
        (lambda: K.Conv2DTranspose(5, 2), 8, 3),
        (lambda: K.Dense(3), 10, 0),  # the last block has two
    ],
)
def test_two_of_four(layer, channels, axis):
    inputs = keras.Input((4, 4, channels))
    layer = layer()
    model = keras.Model(inputs, layer(inputs))
    w = numpy(layer.kernel)
    w[..., :1] = 0.25  # ties: exactly two stay
    layer.kernel.assign(w)
    pruned = prune(model, ConstantSparsity(0.5), n_of_m=(2, 4))
    expected = np.moveaxis(two_of_four(np.moveaxis(w, axis, -1)), -1, axis)
    np.testing.assert_array_equal(kernels(pruned)[0], np.where(expected, w, 0))


def test_two_of_four_step_by_step():
    """Of four, 4, 3 and 2 stay."""
    schedule = PolynomialSparsity(0.5, end_step=2, power=1, frequency=1)
    pruned = prune(dense(8, 4), schedule, n_of_m=(2, 4))
    pruned.compile("adam", "mse")
    watch = Watch()
    pruned.fit(*data(32), batch_size=8, verbose=0, callbacks=[watch])
    assert [masks[0].sum() for _, _, masks in watch.seen] == [24, 16, 16, 16]


def small_network():
    x = inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, name="stem")(x)
    x = layers.GroupedConv2D(8, 3, groups=2, name="grouped")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = K.BatchNormalization()(x)
    x = K.SeparableConv2D(8, 1, name="separable")(K.ReLU()(x))
    return keras.Model(inputs, K.Dense(3, name="head")(K.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize(
    ("skip", "zeros"),
    [
        (("depthwise",), ["stem", "grouped", "separable/pointwise_kernel", "head"]),
        (("depthwise", "grouped", "first", "last"), ["separable/pointwise_kernel"]),
        (("stem", "head", "separable"), ["grouped", "depthwise"]),
    ],
)
def test_skip_leaves_kernels_dense(skip, zeros):
    report = measure_sparsity(prune(small_network(), ConstantSparsity(0.5), skip=skip))
    assert [row.name for row in report.layers if row.zeros] == zeros
    assert all(row.sparsity in (0, 0.5) for row in report.layers)
    assert len(report.layers) == 6


def test_a_kdl_network_keeps_its_class():
    model = ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=4)
    model.layers[1].trainable = False
    plain = strip(prune(model, ConstantSparsity(0.6), skip=("depthwise", "first")))
    assert type(plain) is ShuffleNetV2
    assert not plain.layers[1].trainable
    report = measure_sparsity(plain)
    dense = [row for row in report.layers if not row.zeros]
    assert dense[0] == report.layers[0]
    assert len(dense) == 20
    assert all(row.shape[-1] == 1 for row in dense[1:])  # depthwise
    pruned = [row.sparsity for row in report.layers if row.zeros]
    np.testing.assert_allclose(pruned, 0.6, atol=1e-3)


@pytest.mark.every_backend
def test_steps_and_masks_survive_saving(tmp_path):
    schedule = PolynomialSparsity(0.75, end_step=12, frequency=4)
    pruned = prune(dense(8, 16, 4), schedule)
    pruned.compile("adam", "mse")
    pruned.fit(*data(), batch_size=8, shuffle=False, verbose=0)
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras")
    assert type(loaded) is PrunedModel
    assert loaded.schedule.get_config() == schedule.get_config()
    assert int(loaded.step) == 8
    for model in (pruned, loaded):
        model.fit(*data(), batch_size=8, shuffle=False, verbose=0)
    assert int(loaded.step) == 16
    assert measure_sparsity(loaded).sparsity == 0.75
    for one, other in zip(kernels(pruned), kernels(loaded), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    loaded.compile("sgd", "mse")  # a new optimizer begins at 0; the schedule goes on
    loaded.fit(*data(), batch_size=8, verbose=0)
    assert int(loaded.step) == 24
    assert measure_sparsity(loaded).sparsity == 0.75


def test_config_is_plain():
    pruned = prune(small_network(), ConstantSparsity(0.5), n_of_m=(2, 4), skip=("head",))
    config = json.loads(json.dumps(pruned.get_config()))
    again = PrunedModel.from_config(copy.deepcopy(config))
    assert json.loads(json.dumps(again.get_config())) == config
    assert [w.shape for w in kernels(again)] == [w.shape for w in kernels(pruned)]


def test_frozen_layers_and_shared_layers():
    shared = K.Dense(8, name="shared")
    inputs = keras.Input((8,))
    frozen = K.Dense(8, name="frozen", trainable=False)
    model = keras.Model(inputs, K.Dense(4)(frozen(shared(shared(inputs)))))
    pruned = prune(model, PolynomialSparsity(0.5, end_step=2, frequency=1))
    assert len(pruned.masks) == 3
    pruned.compile("adam", "mse")
    pruned.fit(*data(), batch_size=16, verbose=0)
    assert all(row.sparsity == 0.5 for row in measure_sparsity(pruned).layers)


def test_prune_without_schedule_keeps_zeros():
    model = strip(prune(dense(8, 16, 4), ConstantSparsity(0.5)))
    again = prune(model, None)
    before = kernels(again)
    again.compile(keras.optimizers.AdamW(0.01), "mse")
    again.fit(*data(), batch_size=8, verbose=0)
    for old, new in zip(before, kernels(again), strict=True):
        np.testing.assert_array_equal(old == 0, new == 0)
        assert not np.array_equal(old, new)


def test_zeros_stay_through_folding_and_quantization():
    model = strip(prune(small_network(), ConstantSparsity(0.5)))
    _checks.move_weights(model)  # batch norm that does something
    model = strip(prune(model, ConstantSparsity(0.5)))
    zeros = [row.zeros for row in measure_sparsity(model).layers]
    assert sum(zeros) > 300
    assert [row.zeros for row in measure_sparsity(fold_batch_norm(model)).layers] == zeros

    images = np.random.default_rng(0).standard_normal((16, 8, 8, 4)).astype("float32")
    quantized, report = quantize_aware(model, images, verbose=0)
    assert report.complete
    pruned = prune(quantized, None)
    pruned.compile(keras.optimizers.AdamW(1e-3), "mse")
    pruned.fit(images, np.zeros((16, 3)), batch_size=4, epochs=2, verbose=0)
    trained = strip(pruned)
    assert type(trained.get_layer("stem")).__name__ == "QuantizedConv2D"
    # The rounded kernels: zero is an integer of theirs.
    from kdl.ops import fake_quantize_weights

    kernel = numpy(trained.get_layer("stem").kernel)
    rounded = numpy(fake_quantize_weights(kernel, 8))
    assert np.all(rounded[kernel == 0] == 0)
    found = [row.zeros for row in measure_sparsity(trained).layers]
    assert sorted(found) == sorted(zeros)


@pytest.mark.export
def test_zeros_stay_in_the_file(tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    from kdl.deploy import export_tflite

    inputs = keras.Input((8, 8, 8))
    model = keras.Model(inputs, K.Conv2D(16, 3)(inputs))
    plain = strip(prune(model, ConstantSparsity(0.75)))
    images = np.random.default_rng(0).standard_normal((16, 8, 8, 8)).astype("float32")
    quantized, _ = quantize_aware(plain, images, verbose=0)
    path = tmp_path / "pruned.tflite"
    export_tflite(prune(quantized, None), path, "int8", verification_data=images)
    file = Interpreter(str(path))
    [kernel] = [d for d in file.get_tensor_details() if tuple(d["shape"]) == (16, 3, 3, 8)]
    values = file.get_tensor(kernel["index"])
    expected = numpy(plain.layers[1].kernel)
    assert values.dtype == np.int8
    assert np.all(np.moveaxis(values, 0, -1)[expected == 0] == 0)
    assert np.mean(values == 0) >= 0.75


@keras.saving.register_keras_serializable("kdl_tests")
class Ramp(SparsitySchedule):
    def __call__(self, step):
        return ops.cast(step, "float32") / 10


def test_a_schedule_of_ones_own(tmp_path):
    pruned = prune(dense(8, 16, 4), Ramp(0, 5, frequency=1))
    pruned.save(tmp_path / "pruned.keras")
    pruned = keras.models.load_model(tmp_path / "pruned.keras")
    pruned.compile("adam", "mse")
    pruned.fit(*data(48), batch_size=8, verbose=0)
    assert measure_sparsity(pruned).sparsity == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 0.5}, "schedule must be a SparsitySchedule.*received 0.5"),
        ({"scope": "block"}, "scope must be one of 'layer', 'global'; received 'block'"),
        ({"n_of_m": (4, 4)}, r"0 < n < m; received \(4, 4\)"),
        ({"n_of_m": (1, 4)}, "1 of 4 weights is a sparsity of 0.75; the schedule ends with 0.5"),
        ({"n_of_m": (2, 4), "scope": "global"}, "scope must be 'layer'"),
        ({"skip": "first"}, "skip must hold any of"),
        ({"skip": ("stem",)}, r"skip must hold any of.*received \('stem',\)"),
        ({"skip": ("first", "last")}, "no convolution or dense layer to prune"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune(dense(8, 4), **{"schedule": ConstantSparsity(0.5), **arguments})


def test_models_without_a_graph():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="graph is unknown"):
        prune(Own(), ConstantSparsity(0.5))
    with pytest.raises(ValueError, match="strip takes a model that prune, distill or"):
        strip(dense(8, 4))


def test_prune_of_kernels_quantized_by_keras_raises():
    model = dense(8, 4)
    model.layers[-1].quantize("int4")
    with pytest.raises(ValueError, match=r"quantized to int4 by Keras.* Prune the model before"):
        prune(model, ConstantSparsity(0.5))


def test_what_was_pruned_stays_so_where_too_few_weights_are_left():
    """A constraint makes zeros of its own: of zeros all count as the largest."""
    inputs = keras.Input((8,))
    layer = K.Dense(20, kernel_constraint="non_neg", use_bias=False)
    schedule = PolynomialSparsity(0.5, end_step=20, frequency=1, initial_sparsity=0.4)
    pruned = prune(keras.Model(inputs, layer(inputs)), schedule)
    pruned.compile(keras.optimizers.SGD(0.5), "mse")
    x, y = data(outputs=20)
    before = numpy(pruned.masks[0])
    for _ in range(6):
        pruned.train_on_batch(x, y)
        now = numpy(pruned.masks[0])
        assert not np.any(now & ~before)
        before = now


def test_the_first_kernel_is_skipped_and_not_its_namesakes():
    x = inputs = keras.Input((8,))
    for name in ("one", "other"):
        part = keras.Sequential(
            [keras.Input((8,)), K.Dense(8, name="fc"), K.Dense(8, name="out")], name=name
        )
        x = part(x)
    pruned = prune(keras.Model(inputs, x), ConstantSparsity(0.5), skip=("first",))
    assert len(pruned.kernels) == 3


def test_kernels_are_found_in_a_copy_that_draws_nothing():
    """A Dropout of rate 0 has no seed among its variables, where the original has one."""
    layers = [K.Dense(8), K.Dropout(0.5), K.Dense(8), K.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    layers[1].rate = 0.0
    pruned = prune(model, ConstantSparsity(0.5))
    assert [kernel.shape for kernel in pruned.kernels] == [(4, 8), (8, 8), (8, 2)]
    np.testing.assert_allclose([np.mean(w == 0) for w in kernels(pruned)], 0.5)


def test_kernels_are_found_in_a_copy_of_another_order(tmp_path):
    """A portable file sorts outputs by their keys as text: 16 before 8."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {n: K.Dense(n, name=f"d{n}")(inputs) for n in (8, 16, 32)})
    pruned = prune(model, ConstantSparsity(0.5))
    masks = {k.path: numpy(m) for k, m in zip(pruned.kernels, pruned.masks, strict=True)}
    save_portable(pruned, tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for kernel, mask in zip(loaded.kernels, loaded.masks, strict=True):
        np.testing.assert_array_equal(numpy(mask), masks[kernel.path])


def test_inputs_beyond_half_precision_reach_the_model():
    ones = K.Dense(1, kernel_initializer="ones", dtype="float32")
    model = keras.Sequential([keras.Input((1,)), ones])
    keras.config.set_dtype_policy("mixed_float16")
    try:
        pruned = prune(model, None)
    finally:
        keras.config.set_dtype_policy("float32")
    assert float(pruned.predict(np.float32([[1e5]]), verbose=0)[0, 0]) == 1e5
