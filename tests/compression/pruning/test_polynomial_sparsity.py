import keras
import numpy as np
import pytest

from kdl.compression import PolynomialSparsity


@pytest.mark.parametrize(
    ("arguments", "steps", "expected"),
    [
        (
            {"final_sparsity": 0.8, "end_step": 100},
            [0, 10, 25, 50, 75, 100, 101],
            [0, 0.2168, 0.4625, 0.7, 0.7875, 0.8, 0.8],
        ),
        (
            {
                "final_sparsity": 0.9,
                "end_step": 2000,
                "begin_step": 1000,
                "initial_sparsity": 0.5,
            },
            [0, 1000, 1200, 2000],
            [0.5, 0.5, 0.6952, 0.9],
        ),
        ({"final_sparsity": 0.8, "end_step": 4, "power": 1}, [1, 2, 3], [0.2, 0.4, 0.6]),
    ],
)
def test_worked_numbers(arguments, steps, expected):
    schedule = PolynomialSparsity(**arguments)
    found = [float(schedule(np.int32(step))) for step in steps]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
    assert {**again.get_config(), **arguments} == again.get_config()


def test_schedule_due_steps():
    """Every `frequency` steps from the beginning, and at the end even if that is between."""
    schedule = PolynomialSparsity(0.8, end_step=17, begin_step=5, frequency=5)
    assert [step for step in range(40) if schedule.due(step)] == [5, 10, 15, 17]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"final_sparsity": 1}, "final_sparsity must be from 0 to below 1; received 1"),
        ({"initial_sparsity": -0.1}, "initial_sparsity must be from 0 to below 1"),
        ({"initial_sparsity": 0.9}, "at most final_sparsity = 0.8; received 0.9"),
        ({"begin_step": 10}, "end_step must be above begin_step = 10; received 10.*Constant"),
        ({"begin_step": 11}, "end_step must be at least begin_step = 11; received 10"),
        ({"begin_step": -1}, "begin_step must be an integer of at least 0; received -1"),
        ({"end_step": 1.5}, "end_step must be an integer of at least 0; received 1.5"),
        ({"frequency": 0}, "frequency must be a positive integer"),
        ({"power": 0}, "power must be above 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PolynomialSparsity(**{"final_sparsity": 0.8, "end_step": 10, **arguments})
