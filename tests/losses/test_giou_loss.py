import box_losses
import numpy as np
import pytest

from kdl.losses import GIoULoss, giou_loss


def test_loss():
    expected = [[2 / 3, 1 - (3 / 11 - 1 / 12)], [1 / 2, 1 + 39 / 42]]
    box_losses.check_iou_loss(GIoULoss, giou_loss, expected)


def test_values_and_gradients_are_those_of_torchvision(root):
    box_losses.check_golden(giou_loss, root, "giou")


def test_weights_of_samples_count_for_all_their_boxes():
    weights = np.float32([1, 0])
    loss = GIoULoss(reduction="sum")(box_losses.TRUTH, box_losses.BOXES, weights)
    alone = GIoULoss(reduction="sum")(box_losses.TRUTH[:1], box_losses.BOXES[:1])
    assert float(loss) == pytest.approx(float(alone))


def test_other_shapes_raise_and_no_boxes_have_no_loss():
    box_losses.check_other_shapes_raise(giou_loss)
    box_losses.check_no_boxes(GIoULoss, giou_loss)
