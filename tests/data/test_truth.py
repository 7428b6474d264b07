import numpy as np

from kdl.data._truth import clipped, cropped, flipped, moved, padded, select, truth_of


def truth():
    masks = np.zeros((2, 10, 20), bool)
    masks[0, 2:6, 3:9] = True
    masks[1, 0:4, 10:20] = True
    return {
        "boxes": np.array([[3, 2, 9, 6], [10, 0, 20, 4]], "float32"),
        "labels": np.array([4, 5]),
        "visible_boxes": np.array([[3, 2, 5, 6], [-1, -1, -1, -1]], "float32"),
        "area": np.array([24, 40], "float32"),
        "ignore": np.array([True, False]),
        "masks": masks,
    }


def boxes_of(masks):
    """Around each mask."""
    found = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        found.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return found


def test_flip_moves_boxes_as_masks():
    found = flipped(truth(), 20)
    np.testing.assert_array_equal(found["boxes"], boxes_of(found["masks"]))
    np.testing.assert_array_equal(found["visible_boxes"], [[15, 2, 17, 6], [-1, -1, -1, -1]])
    np.testing.assert_array_equal(flipped(found, 20)["boxes"], truth()["boxes"])


def test_crop_cuts_boxes_as_masks():
    found = cropped(truth(), left=5, top=1, width=10, height=8)
    np.testing.assert_array_equal(found["boxes"], boxes_of(found["masks"]))
    np.testing.assert_array_equal(found["boxes"], [[0, 1, 4, 5], [5, 0, 10, 3]])
    np.testing.assert_array_equal(found["area"], [16, 15])
    # What was visible of the first is beyond the border.
    np.testing.assert_array_equal(found["visible_boxes"], [[-1] * 4] * 2)
    assert found["masks"].shape == (2, 8, 10)


def test_crop_leaves_out_what_is_outside():
    found = cropped(truth(), left=0, top=4, width=10, height=6)
    assert found["labels"].tolist() == [4]
    assert found["ignore"].tolist() == [True]
    of_boxes = {key: value for key, value in truth().items() if key != "masks"}
    assert cropped(of_boxes, 0, 4, 10, 6)["area"].tolist() == [12]


def test_move_scales_then_shifts():
    found = moved(truth(), scale=(2, 3), offset=(1, -1))
    np.testing.assert_array_equal(found["boxes"][0], [7, 5, 19, 17])
    np.testing.assert_array_equal(found["area"], [144, 240])
    np.testing.assert_array_equal(found["visible_boxes"][1], [-1] * 4)


def test_padding_is_minus_one_and_false():
    one = truth()
    found = padded([select(one, np.array([True, False])), one], most=3)
    assert found["labels"].tolist() == [[4, -1, -1], [4, 5, -1]]
    assert (found["boxes"][0, 1:] == -1).all()
    assert found["ignore"].tolist() == [[True, False, False], [True, False, False]]
    assert (found["masks"].shape, found["masks"].dtype) == ((2, 3, 10, 20), bool)
    assert not found["masks"][0, 1:].any()


def test_no_objects_have_the_shapes_of_some():
    empty = truth_of([], ("boxes", "labels", "ignore"))
    assert {key: (value.shape, value.dtype.name) for key, value in empty.items()} == {
        "boxes": ((0, 4), "float32"),
        "labels": ((0,), "int64"),
        "ignore": ((0,), "bool"),
    }
    assert flipped(empty, 5)["boxes"].shape == (0, 4)
    assert cropped(empty, 0, 0, 5, 5)["boxes"].shape == (0, 4)


def test_clipped_boxes_end_at_the_borders():
    boxes = np.array([[-1.0, 2, 30, 30]])
    assert clipped(boxes, 10, 20).tolist() == [[0, 2, 20, 10]]
