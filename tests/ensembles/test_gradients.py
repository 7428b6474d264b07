import hypothesis
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays

from kdl.ensembles import _gradients
from kdl.ensembles._member_outputs import softmax

pytestmark = pytest.mark.every_backend

CLASSES, NUMBERS = "classification", "regression"


def loss(targets, scores, weights, task):
    if task == NUMBERS:
        return (weights[:, None] * (targets - scores) ** 2).sum()
    return -(weights[:, None] * targets * np.log(softmax(scores))).sum()


def test_residuals_give_worked_numbers():
    left = _gradients.residuals(np.array([[1.0, 0, 0]]), np.array([[0.0, 1, 0]]), CLASSES)
    assert left[0] == pytest.approx([0.788058, -0.576117, -0.211942], abs=1e-6)


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
def test_residuals_are_the_negative_gradient(task):
    """The residuals are half of, or the whole, negative gradient; F_0 has none in the sum."""
    generator = np.random.default_rng(0)
    targets = np.eye(3)[generator.integers(0, 3, 8)]
    scores, weights = generator.normal(size=(8, 3)), generator.uniform(1, 2, 8)
    left = _gradients.residuals(targets, scores, task)
    for place in [(0, 0), (3, 2)]:
        shift = np.zeros((8, 3))
        shift[place] = 1e-6
        ones = np.ones(8)
        up, down = (loss(targets, scores + s, ones, task) for s in (shift, -shift))
        slope = (up - down) / 2e-6 / (2 if task == NUMBERS else 1)
        assert -slope == pytest.approx(left[place], abs=1e-6)
    first = np.tile(_gradients.first_scores(targets, weights, task), (8, 1))
    rest = (weights[:, None] * _gradients.residuals(targets, first, task)).sum(0)
    assert rest == pytest.approx(np.zeros(3), abs=1e-9)


@pytest.mark.parametrize("task", [CLASSES, NUMBERS])
@hypothesis.given(
    arrays.arrays("float64", (6, 3), elements={"min_value": -3, "max_value": 3}),
    arrays.arrays("float64", (6, 3), elements={"min_value": -3, "max_value": 3}),
    arrays.arrays("float64", (6,), elements={"min_value": 0.125, "max_value": 4}),
)
@hypothesis.settings(max_examples=25)
def test_best_step_has_least_loss(task, scores, direction, weights):
    targets = np.eye(3)[[0, 1, 2, 0, 1, 1]]
    step = _gradients.best_step(targets, scores, direction, weights, task)
    assert 0 <= step < np.inf
    if step == _gradients._MAX_STEP:
        return
    best = loss(targets, scores + step * direction, weights, task)
    for other in (0.0, step / 2, step * 0.99, step * 1.01, 2 * step, step + 0.1):
        assert best <= loss(targets, scores + other * direction, weights, task) + 1e-8


def test_best_step_without_minimum_is_zero_or_bounded():
    targets, scores = np.eye(2), np.zeros((2, 2))
    for task in (CLASSES, NUMBERS):
        assert _gradients.best_step(targets, scores, -targets, None, task) == 0
        assert _gradients.best_step(targets, scores, np.zeros((2, 2)), None, task) == 0
        assert _gradients.best_step(targets, scores, np.full((2, 2), 6e-302), None, task) == 0
    assert _gradients.best_step(targets, scores, targets, None, CLASSES) == 16
    assert _gradients.best_step(targets, scores, targets / 2, None, NUMBERS) == 2
