import json

import box_losses
import numpy as np
import pytest

from kdl.losses import SmoothL1, smooth_l1
from kdl.testing import _checks, run_loss_test

TRUTH = np.float32([[[0, 0, 1, -1]], [[2, 2, 2, 2]]])
OFFSETS = np.float32([[[0.5, -3, 1, -1.05]], [[2, 2, 2.5, 1.9]]])


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (1.0, [[0.125 + 2.5 + 0.00125], [0.125 + 0.005]]),
        (0.1, [[0.45 + 2.95 + 0.0125], [0.45 + 0.05]]),
        (0.0, [[3.55], [0.6]]),
    ],
)
def test_loss(beta, expected):
    run_loss_test(
        SmoothL1,
        {"beta": beta, "reduction": "none"},
        TRUTH,
        OFFSETS,
        expected=np.float32(expected),
        function=smooth_l1,
        edge_cases=[(TRUTH, TRUTH), (TRUTH, TRUTH + 1e4)],
    )


def test_values_are_those_of_torchvision(root):
    data = box_losses.golden(root)
    for number, beta in enumerate(json.loads(bytes(data["meta"]).decode())["smooth_l1_beta"]):
        found = smooth_l1(data["regression_target"], data["regression"], beta)
        expected = data[f"smooth_l1_{number}"].sum(-1)
        np.testing.assert_allclose(_checks.to_numpy(found), expected, rtol=1e-5)


@pytest.mark.parametrize("beta", [-1, float("nan"), float("inf")])
def test_bad_beta_raises(beta):
    with pytest.raises(ValueError, match="beta must be a number from 0 on"):
        SmoothL1(beta)


def test_other_shapes_raise_and_no_boxes_have_no_loss():
    box_losses.check_other_shapes_raise(smooth_l1)
    box_losses.check_no_boxes(SmoothL1, smooth_l1)
