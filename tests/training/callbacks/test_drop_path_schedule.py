import keras
import numpy as np
import pytest

from kdl.layers.blocks.nasnet_cell import NASNetCell
from kdl.layers.regularization.scheduled_drop_path import ScheduledDropPath
from kdl.training.callbacks.drop_path_schedule import DropPathSchedule

pytestmark = pytest.mark.every_backend

IMAGES, TARGETS = np.ones((8, 4, 4, 2), "float32"), np.zeros((8, 4, 4, 4), "float32")


def progress(model):
    """Progress of each drop path in the model, by the weights of their steps and totals."""
    steps, totals = (
        [int(v) for v in model.non_trainable_variables if v.name == f"drop_path_{name}"]
        for name in ("step", "total_steps")
    )
    return [step / total for step, total in zip(steps, totals, strict=True)]


def nested_model():
    """Drop path in the model itself, in a model within it, and in a block within that."""
    description = {"rows": [("avg3", 0, "avg3", 1)], "outputs": [2]}
    inner = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(4, 1)])
    inner.add(ScheduledDropPath(0.9))
    inputs = keras.Input((4, 4, 2))
    x = ScheduledDropPath(0.9)(inner(inputs))
    outputs = NASNetCell(4, description, drop_path_keep=0.9)([x, x])
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def fit(model, epochs, total_steps=16, **arguments):
    schedule = DropPathSchedule(total_steps)
    return model.fit(
        IMAGES,
        TARGETS,
        batch_size=2,
        epochs=epochs,
        verbose=0,
        callbacks=[schedule],
        **arguments,
    )


def test_every_layer_is_stepped_and_a_resumed_run_goes_on(tmp_path):
    model = nested_model()
    fit(model, epochs=1)
    assert progress(model) == [4 / 16] * 4
    fit(model, epochs=1)
    assert progress(model) == [8 / 16] * 4
    model.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    assert progress(resumed) == [8 / 16] * 4
    fit(resumed, epochs=5, initial_epoch=4)
    assert progress(resumed) == [12 / 16] * 4


def test_the_count_is_that_of_the_optimizer():
    model = nested_model()
    model(IMAGES, training=True)
    fit(model, epochs=2)
    assert progress(model) == [8 / 16] * 4


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_training_sees_each_step_within_an_epoch(steps_per_execution):
    """The loss is 1 while nothing is dropped, in the first of four steps, and 0 afterwards."""
    if steps_per_execution > 1 and keras.backend.backend() == "torch":
        pytest.skip("Keras refuses steps_per_execution > 1 on PyTorch")
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="ones"),
            ScheduledDropPath(1e-9),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mse", steps_per_execution=steps_per_execution)
    history = model.fit(
        np.ones((8, 1)),
        np.zeros((8, 1)),
        batch_size=2,
        verbose=0,
        callbacks=[DropPathSchedule(1)],
    )
    assert history.history["loss"] == [0.25]


def test_bad_models_and_arguments_raise():
    with pytest.raises(ValueError, match="total_steps must be a positive integer; received 0"):
        DropPathSchedule(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no ScheduledDropPath to step"):
        model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[DropPathSchedule(1)])


def fit_accumulating(optimizer, epochs, batches=8, initial_epoch=0, model=None):
    """Progress at the begin and end of each epoch."""
    drop = ScheduledDropPath(0.5)
    if model is None:
        layers = [keras.Input((4,)), keras.layers.Dense(4), drop, keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile(optimizer, "mse")
    found = []

    def note(epoch, logs):
        found.append(round(24 * progress(model)[0]))

    watch = keras.callbacks.LambdaCallback(on_epoch_begin=note, on_epoch_end=note)
    x, y = np.ones((2 * batches, 4)), np.ones((2 * batches, 1))
    model.fit(
        x,
        y,
        batch_size=2,
        epochs=epochs,
        initial_epoch=initial_epoch,
        verbose=0,
        callbacks=[DropPathSchedule(24), watch],
    )
    return model, found


def test_step_with_gradient_accumulation_is_a_batch():
    optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=4)
    model, found = fit_accumulating(optimizer, epochs=2, batches=6)  # 4 does not divide 6
    assert found == [0, 6, 6, 12]
    _, found = fit_accumulating(None, epochs=4, batches=6, initial_epoch=2, model=model)
    assert found == [12, 18, 18, 24]


def test_the_count_does_not_go_back_where_a_loss_scale_leaves_out_updates():
    inner = keras.optimizers.SGD(0.01)
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**127 * 1.9)
    _, found = fit_accumulating(optimizer, epochs=2)
    assert found == [0, 8, 8, 16]
