import box_losses
import numpy as np
import pytest

from kdl.losses import DIoULoss, diou_loss


def test_loss():
    expected = [[1 - (1 / 3 - 1 / 13), 1 - (3 / 11 - 1.25 / 25)], [1 / 2, 1 + 55.25 / 85]]
    box_losses.check_iou_loss(DIoULoss, diou_loss, expected)


def test_values_and_gradients_are_those_of_torchvision(root):
    box_losses.check_golden(diou_loss, root, "diou")


def test_weights_of_samples_count_for_all_their_boxes():
    weights = np.float32([1, 0])
    loss = DIoULoss(reduction="sum")(box_losses.TRUTH, box_losses.BOXES, weights)
    alone = DIoULoss(reduction="sum")(box_losses.TRUTH[:1], box_losses.BOXES[:1])
    assert float(loss) == pytest.approx(float(alone))


def test_other_shapes_raise_and_no_boxes_have_no_loss():
    box_losses.check_other_shapes_raise(diou_loss)
    box_losses.check_no_boxes(DIoULoss, diou_loss)
