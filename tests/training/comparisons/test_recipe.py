import keras
import numpy as np
import pytest

from kdl.data import RandomShift
from kdl.training import Recipe

X = np.random.default_rng(0).random((50, 4, 4, 1)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0.5).astype("int64")


def linear():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    return keras.Sequential([keras.Input((4, 4, 1)), *layers])


def test_steps_count_a_last_batch_of_fewer():
    assert Recipe(3, batch_size=20).steps(50) == 9
    assert Recipe(3, batch_size=25).steps(50) == 6


def test_fit_trains_for_its_steps_under_warm_up_and_cosine():
    recipe = Recipe(4, batch_size=20, learning_rate=0.05, warm_up_share=0.25)
    model = linear()
    logged = recipe.fit(model, (X, Y), (X, Y), verbose=0)
    assert len(logged["val_accuracy"]) == 4
    assert logged["loss"][-1] < 0.98 * logged["loss"][0]
    assert int(model.optimizer.iterations) == 12
    schedule = recipe.optimizer(50)._learning_rate
    rates = [float(schedule(step)) for step in range(12)]
    assert np.argmax(rates) == 3
    assert rates[3] == pytest.approx(0.05)
    assert rates[-1] < rates[6] < rates[3]
    assert recipe.optimizer(50).weight_decay == 0.02


def test_two_models_get_the_same_batches():
    recipe = Recipe(1, batch_size=16, augment=RandomShift(1))
    for (x, y), (again, labels) in zip(recipe.dataset((X, Y)), recipe.dataset((X, Y)), strict=True):
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(y, labels)
    ours, theirs = (recipe.fit(linear(), (X, Y), verbose=0)["loss"] for _ in range(2))
    assert ours == theirs


def test_loss_metrics_and_callbacks_are_used():
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    recipe = Recipe(2, loss="categorical_crossentropy", metrics=["mae"])
    logged = recipe.fit(linear(), (X, np.eye(2)[Y]), callbacks=[callback], verbose=0)
    assert set(logged) == {"loss", "mae"}
    assert seen == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"warm_up_share": 1}, r"warm_up_share must lie in \[0, 1\)"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"epochs": 1, **arguments})
