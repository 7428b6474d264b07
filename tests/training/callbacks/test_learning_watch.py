import math
import warnings

import pytest

from kdl.training.callbacks.learning_watch import LearningWatch

pytestmark = pytest.mark.every_backend


def watched(labels, *epochs):
    """Number of warnings after epochs of `(val_loss, val_accuracy)`."""
    watch = LearningWatch(labels)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number, (loss, accuracy) in enumerate(epochs):
            watch.on_epoch_end(number, {"val_loss": loss, "val_accuracy": accuracy})
    return len(told)


@pytest.mark.parametrize(
    ("labels", "guess"), [([0, 1, 2], (math.log(3), 1 / 3)), ([0, 0, 0, 1], (0.5623, 0.75))]
)
def test_guess_by_class_shares_warns_once(labels, guess):
    assert watched(labels, guess) == 0
    assert watched(labels, guess, guess) == 1
    assert watched(labels, *4 * [guess]) == 1
    assert watched(labels, guess, (guess[0] - 0.1, guess[1]), guess) == 0
    assert watched(labels, *3 * [(guess[0], 0.9)]) == 0


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_infinite_loss_warns(loss):
    assert watched([0, 1], (loss, 0.5), (loss, 0.5)) == 1
