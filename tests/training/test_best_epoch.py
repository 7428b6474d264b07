import math

import pytest

from kdl.training.callbacks.best_epoch import best_row


@pytest.mark.parametrize("order", [1, -1])
def test_nan_is_the_worst(order):
    rows = [
        {"epoch": 1, "val_accuracy": 0.1, "val_loss": math.nan},
        {"epoch": 2, "val_accuracy": math.nan, "val_loss": 0.1},
        {"epoch": 3, "val_accuracy": 0.1, "val_loss": 2.0},
    ]
    assert best_row(rows[::order])["epoch"] == 3
