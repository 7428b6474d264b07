import keras
import numpy as np
import pytest

from kdl.layers.regularization.scheduled_drop_path import ScheduledDropPath
from kdl.testing import run_layer_test


def at(step, total_steps, **arguments):
    layer = ScheduledDropPath(**arguments)
    layer.build((None, 2))
    layer.step.assign(step)
    layer.total_steps.assign(total_steps)
    return layer


@pytest.mark.parametrize("shape", [(4, 3), (4, 6, 6, 2)])
def test_layer(shape):
    arguments = {"final_keep_probability": 0.6, "cell": 1, "cells": 3, "seed": 7}
    run_layer_test(ScheduledDropPath, arguments, shape, reference=lambda layer, x: x)


@pytest.mark.parametrize(
    ("cell", "step", "keep"),
    [(0, 468_750, 0.99), (9, 468_750, 0.9), (19, 468_750, 0.8), (19, 937_500, 0.6), (19, 2e6, 0.6)],
)
def test_keep_probability_of_the_authors_code(cell, step, keep):
    layer = at(int(step), 937_500, final_keep_probability=0.6, cell=cell, cells=20)
    assert float(layer.keep_probability) == pytest.approx(keep, abs=1e-6)


def test_whole_samples_are_dropped_and_the_rest_scaled():
    layer = at(3, 3, final_keep_probability=0.25, seed=0)
    x = np.random.default_rng(0).uniform(1, 2, (4000, 2, 3)).astype("float32")
    y = keras.ops.convert_to_numpy(layer(x, training=True))
    kept = y.reshape(len(y), -1).any(1)
    np.testing.assert_allclose(y[kept], 4 * x[kept], rtol=1e-6)
    assert not y[~kept].any()
    assert kept.mean() == pytest.approx(0.25, abs=0.03)
    again = keras.ops.convert_to_numpy(layer(x, training=True))
    assert (again.reshape(len(y), -1).any(1) != kept).any()


def test_counts_steps_in_training_only():
    layer = at(2, 8, final_keep_probability=0.5)
    x = np.ones((2, 2), "float32")
    for training in (True, False, True, None):
        layer(x, training=training)
    assert int(layer.step) == 4
    assert float(layer.progress) == 0.5


def test_drops_nothing_until_the_total_is_set():
    layer = at(100, 0, final_keep_probability=0.01)
    x = np.ones((50, 2), "float32")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(x, training=True)), x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final_keep_probability": 0.0}, r"in \(0, 1\]; received 0.0"),
        ({"final_keep_probability": 1.5}, r"in \(0, 1\]"),
        (
            {"final_keep_probability": 0.5, "cell": 4, "cells": 4},
            "cell must be an integer from 0 to 3; received 4",
        ),
        ({"final_keep_probability": 0.5, "cells": 0}, "cells must be a positive integer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ScheduledDropPath(**arguments)
