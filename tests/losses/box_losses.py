"""Oracles of the losses of boxes: torchvision's values and gradients."""

import numpy as np
import pytest

from kdl.testing import _checks, run_loss_test
from kdl.testing._gradients import gradients

TRUTH = np.float32([[[0, 0, 2, 2], [0, 0, 4, 2]], [[1, 1, 3, 5], [2, 2, 3, 3]]])
BOXES = np.float32([[[1, 0, 3, 2], [0, 1, 3, 3]], [[1, 2, 3, 4], [7, 7, 9, 8]]])
# Without sides, of negative sides, and the truth itself.
EDGES = np.float32([[[1, 1, 1, 1], [0, 0, 0, 5]], [[3, 3, 1, 1], [2, 2, 3, 3]]])


def golden(root):
    """Values and gradients of torchvision, in float32."""
    return np.load(root / "tests" / "golden" / "detection" / "ops_losses.npz")


def check_iou_loss(cls, function, expected):
    """All that `run_loss_test` asks, with numbers worked out by hand for `BOXES`."""
    run_loss_test(
        cls,
        {"reduction": "none"},
        TRUTH,
        BOXES,
        expected=np.float32(expected),
        function=function,
        edge_cases=[(TRUTH, EDGES), (TRUTH, TRUTH), (EDGES, EDGES)],
    )


def check_golden(function, root, name):
    """Values and gradients are torchvision's, of a box without width, too."""
    data = golden(root)
    truth, boxes = data["target_boxes"], data["predicted_boxes"]
    values = _checks.to_numpy(function(truth, boxes))
    np.testing.assert_allclose(values, data[f"{name}_loss"], atol=5e-5)
    _, [gradient] = gradients(lambda x: function(truth, x[0]), [], [boxes])
    weights = _checks.random_array(values.shape, seed=1)[:, None]  # of the sum that is derived
    np.testing.assert_allclose(gradient, weights * data[f"{name}_gradient"], atol=5e-5)


def check_other_shapes_raise(function):
    """One box a sample, with and without an axis for it, would pair all samples."""
    with pytest.raises(ValueError, match=r"one shape.*received \(2, 4\) and \(2, 1, 4\)"):
        function(np.zeros((2, 4)), np.zeros((2, 1, 4)))


def check_no_boxes(cls, function):
    """An image without boxes, and an empty batch."""
    assert _checks.to_numpy(function(np.zeros((2, 0, 4)), np.zeros((2, 0, 4)))).shape == (2, 0)
    assert float(cls(reduction="sum")(np.zeros((2, 0, 4)), np.zeros((2, 0, 4)))) == 0
    assert _checks.to_numpy(cls()(np.zeros((0, 4)), np.zeros((0, 4)))).size == 0
