import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdl.training import WarmUpCosine


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def test_worked_numbers():
    schedule = WarmUpCosine(0.4, total_steps=10, warm_up_steps=2)
    expected = [0, 0.2, 0.4, 0.384776, 0.341421, 0.276537, 0.2, 0.123463, 0.058579, 0.015224, 0, 0]
    np.testing.assert_allclose(rates(schedule, range(12)), expected, atol=1e-6)


def test_equals_keras_cosine_decay():
    ours = WarmUpCosine(0.3, 50, 7, initial_learning_rate=0.01, final_learning_rate=0.03)
    keras_own = keras.optimizers.schedules.CosineDecay(
        0.01, 43, alpha=0.1, warmup_target=0.3, warmup_steps=7
    )
    np.testing.assert_allclose(rates(ours, range(60)), rates(keras_own, range(60)), atol=1e-6)


@given(
    total=st.integers(2, 10_000),
    share=st.floats(0, 0.99),
    ends=st.tuples(st.floats(0, 1), st.floats(0.001, 10), st.floats(0, 1)),
)
def test_endpoints_are_exact(total, share, ends):
    warm_up = int(share * total)
    first, peak, last = map(float, np.float32(ends))
    schedule = WarmUpCosine(peak, total, warm_up, first, last)
    found = rates(schedule, (0, warm_up, total, total + 5))
    start = first if warm_up else peak
    assert found == [start, peak, last, last]


def test_never_jumps():
    schedule = WarmUpCosine(1.0, total_steps=1000, warm_up_steps=100)
    assert np.abs(np.diff(rates(schedule, range(1001)))).max() <= 0.0101


def test_drives_an_optimizer_and_round_trips():
    schedule = WarmUpCosine(0.5, 10, 2)
    optimizer = keras.optimizers.SGD(schedule)
    twin = keras.optimizers.SGD.from_config(optimizer.get_config())
    assert rates(twin._learning_rate, range(11)) == rates(schedule, range(11))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 1)), np.ones(4), batch_size=1, epochs=1, verbose=0)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(
        rates(schedule, [4])[0]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0), "warm_up_steps < total_steps"),
        ((0.1, 10, 10), "warm_up_steps < total_steps"),
        ((0.1, 10, -1), "warm_up_steps < total_steps"),
        ((0.0, 10), "peak must be positive"),
        ((0.1, 10, 1, -0.1), "must not be negative"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmUpCosine(*arguments)
