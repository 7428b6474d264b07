import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdl.training import WarmUpCosine

pytestmark = pytest.mark.every_backend


def rates(schedule, steps):
    return [float(keras.ops.convert_to_numpy(schedule(step))) for step in steps]


def test_schedule_gives_worked_numbers():
    schedule = WarmUpCosine(0.4, total_steps=10, warm_up_steps=2)
    expected = [0, 0.2, 0.4, 0.384776, 0.341421, 0.276537, 0.2, 0.123463, 0.058579, 0.015224, 0, 0]
    np.testing.assert_allclose(rates(schedule, range(12)), expected, atol=1e-6)


def test_schedule_equals_keras_cosine_decay():
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
def test_schedule_endpoints_are_exact(total, share, ends):
    warm_up = int(share * total)
    first, peak, last = map(float, np.float32(ends))
    schedule = WarmUpCosine(peak, total, warm_up, first, last)
    found = rates(schedule, (0, warm_up, total, total + 5))
    start = first if warm_up else peak
    assert found == [start, peak, last, last]


def test_schedule_never_jumps():
    schedule = WarmUpCosine(1.0, total_steps=1000, warm_up_steps=100)
    assert np.abs(np.diff(rates(schedule, range(1001)))).max() <= 0.0101


def test_drives_an_optimizer_and_round_trips():
    schedule = WarmUpCosine(0.5, 10, 2)
    optimizer = keras.optimizers.SGD(schedule)
    copy = keras.optimizers.SGD.from_config(optimizer.get_config())
    assert rates(copy._learning_rate, range(11)) == rates(schedule, range(11))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 1)), np.ones(4), batch_size=1, epochs=1, verbose=0)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(
        rates(schedule, [4])[0]
    )


def formula(step, peak, total, warm_up):
    if step < warm_up:
        return peak * step / warm_up
    return 0.5 * peak * (1 + np.cos(np.pi * min((step - warm_up) / (total - warm_up), 1)))


@pytest.mark.parametrize("step", [999_000, 999_990, 999_999])
def test_schedule_near_end_keeps_its_digits(step):
    """½ (1 + cos) in float32 is 0 there, or off by several per cent."""
    expected = 2 * np.sin(np.pi / 2 * (1_000_000 - step) / 1_000_000) ** 2
    assert rates(WarmUpCosine(2.0, 1_000_000), [step])[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("step", [2**24 - 1, 2**24 + 1, 39_999_999, 49_999_999])
def test_schedule_of_more_steps_than_float32_counts(step):
    schedule = WarmUpCosine(0.5, 50_000_000, 10_000_000)
    found = rates(schedule, [step])[0]
    assert found == pytest.approx(formula(step, 0.5, 50_000_000, 10_000_000), rel=1e-5, abs=1e-15)
    before_last = rates(WarmUpCosine(1.0, 2**30), [2**30 - 3, 2**30 - 1])
    assert before_last[0] == pytest.approx(9 * before_last[1], rel=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "float32", "float64"])
def test_schedule_takes_all_kinds_of_steps(dtype):
    schedule = WarmUpCosine(0.4, 10, 2)
    step = np.array(6, dtype)
    tensor = keras.ops.convert_to_tensor(step, "float32" if dtype == "float64" else "int32")
    found = rates(schedule, [step, step[()], tensor])
    np.testing.assert_allclose(found, [0.2] * 3, rtol=1e-6)
    # Past the end, where an unsigned difference would be huge.
    assert rates(schedule, [np.array(12, dtype)]) == [0]


def test_schedule_out_of_range_is_constant():
    """Numbers beyond int32 that JAX's integers do not hold; and none before the first."""
    schedule = WarmUpCosine(0.5, 1000, 10, initial_learning_rate=0.1, final_learning_rate=0.01)
    assert rates(schedule, [2**31, 2**40, 1e30, np.int64(2**40)]) == [np.float32(0.01)] * 4
    before = [-1, -5.5, np.int8(-3), keras.ops.convert_to_tensor(-2)]
    assert rates(schedule, before) == [np.float32(0.1)] * 4
    assert rates(schedule, [np.uint8(7)]) == rates(schedule, [7])


@pytest.mark.parametrize("accumulation", [None, 3])
def test_step_of_optimizer_is_a_batch(accumulation):
    """Also where only every third batch is an update."""
    schedule = WarmUpCosine(0.5, 9, 2)
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=accumulation)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer, "mse")
    model.fit(np.ones((6, 1)), np.ones(6), batch_size=1, verbose=0)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == rates(schedule, [6])[0]


def test_schedule_in_compiled_model_is_saved(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(WarmUpCosine(0.5, 9, 2, final_learning_rate=0.1)), "mse")
    model.fit(np.ones((6, 1)), np.ones(6), batch_size=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(np.ones((6, 1)), np.ones(6), batch_size=2, verbose=0, shuffle=False)
    found, expected = (
        float(keras.ops.convert_to_numpy(each.optimizer.learning_rate)) for each in (loaded, model)
    )
    assert found == expected == rates(WarmUpCosine(0.5, 9, 2, 0.0, 0.1), [6])[0]
    np.testing.assert_array_equal(loaded.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.1, 0), "warm_up_steps < total_steps"),
        ((0.1, 10, 10), "warm_up_steps < total_steps"),
        ((0.1, 10, -1), "warm_up_steps < total_steps"),
        ((0.0, 10), "peak must be positive"),
        ((0.1, 10, 1, -0.1), "must not be negative"),
        ((float("nan"), 10), "must not be negative"),
        ((0.1, 10, 1, 0.0, float("nan")), "must not be negative"),
        ((0.1, float("nan")), "warm_up_steps < total_steps"),
        ((0.1, float("inf")), "warm_up_steps < total_steps"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmUpCosine(*arguments)
