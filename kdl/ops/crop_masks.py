"""Cut-outs of whole-image masks, what a mask head learns.

The weights of ROIAlign are products of one for the row and one for the column. Here they are two
matrices, with the mask of the object between them, so that as many points as a large region has
pixels cost no more than few, and no mask is copied for a region.
"""

from keras import ops

from kdl._checks import check_integer
from kdl._typing import ArrayLike, Tensor
from kdl.ops._shapes import shapes_match
from kdl.ops.boxes import as_boxes
from kdl.ops.roi_align import sample_points

# Sums of thirds and the like may miss one half by this.
_ROUNDING = 1e-6


def crop_masks(
    masks: ArrayLike,
    boxes: ArrayLike,
    matches: ArrayLike,
    size: int | tuple[int, int] = 28,
    sampling_ratio: int | None = None,
    aligned: bool = False,
    binary: bool = False,
) -> Tensor:
    """Mask targets of regions: ROIAlign of the mask of the object that each was matched with.

    A box is divided into `size` cells, and a cell is the mean of the mask at points in it, as
    `kdl.ops.roi_align` tells: the share of the cell that the object covers, or, with `binary`,
    whether that is one half or more. Nothing gets a gradient.

    The defaults are torchvision's. Detectron2 and mmdetection have `aligned=True, binary=True`.

    Shapes: masks `(batch, M, height, width)`, boxes `(batch, N, 4)`, matches `(batch, N)`, results
    float32 `(batch, N, *size)`.

    Args:
        masks: Of each object of an image, 0 or 1 in each pixel; any dtype. Height and width must
            be known.
        boxes: `(x1, y1, x2, y2)` of the regions, in pixels of the masks.
        matches: Integers, the object of each region, from 0. Others, as −1 of a padded row, are
            taken for the nearest: leave such regions out of the loss.
        size: Cells down and across, or one number for both. Defaults to 28.
        sampling_ratio: As in `roi_align`, but None, here the default, costs no more in compiled
            code.
        aligned: As in `roi_align`. Defaults to False.
        binary: If targets are 0 and 1. Defaults to False.

    Raises:
        ValueError: If shapes do not fit, or a number is not positive.

    Source: He et al., Mask R-CNN (arXiv 1703.06870), section 3; torchvision,
    `models/detection/roi_heads.py`.

    Example:
        >>> import numpy as np
        >>> masks = np.zeros((1, 1, 4, 4), bool)
        >>> masks[..., 1:3] = True  # a bar, two pixels wide
        >>> box, match = np.array([[[0.0, 0.0, 4.0, 4.0]]]), np.array([[0]])
        >>> crop = crop_masks(masks, box, match, size=2, sampling_ratio=2, aligned=True)
        >>> [[float(value) for value in row] for row in crop[0, 0]]
        [[0.5, 0.5], [0.5, 0.5]]
    """
    down, across = size if isinstance(size, tuple | list) else (size, size)
    cells = check_integer("size", down), check_integer("size", across)
    if sampling_ratio is not None:
        check_integer("sampling_ratio", sampling_ratio)
    masks, matches = ops.convert_to_tensor(masks), ops.convert_to_tensor(matches)
    (boxes,) = as_boxes(boxes=boxes)
    _check(masks, boxes, matches)
    boxes = ops.stop_gradient(ops.cast(boxes, "float32"))
    shape = (*ops.shape(boxes)[:2], *cells)
    if 0 in (masks.shape[1], boxes.shape[1]):
        return ops.zeros(shape, "float32")
    rows, columns = (
        _weights(boxes[..., axis::2], masks.shape[3 - axis], count, sampling_ratio, aligned)
        for axis, count in ((1, cells[0]), (0, cells[1]))
    )
    crops = ops.reshape(_products(masks, matches, rows, columns), shape)
    return ops.cast(crops >= 0.5 - _ROUNDING, "float32") if binary else crops


def _products(masks, matches, rows, columns):
    """Rows × mask × columns for each region, one after the other: of masks there are few."""
    count, height, width = masks.shape[1:]
    masks = ops.reshape(masks, (-1, height, width))
    image = ops.expand_dims(ops.arange(ops.shape(matches)[0], dtype="int32"), -1)
    match = ops.clip(ops.cast(matches, "int32"), 0, count - 1) + image * count

    def product(region):
        place, rows, columns = region
        mask = ops.stop_gradient(ops.cast(ops.take(masks, place, 0), "float32"))
        return ops.matmul(ops.matmul(rows, mask), ops.transpose(columns))

    return ops.map(product, (ops.reshape(match, (-1,)), rows, columns))


def _weights(edges, pixels, cells, sampling_ratio, aligned):
    """How much each cell of the regions gets of each pixel along an axis.

    Args:
        edges: `(batch, N, 2)`, in pixels.
        pixels: Number of pixels along the axis.
        cells: Number of cells along it.
        sampling_ratio: As in `crop_masks`.
        aligned: As in `crop_masks`.

    Returns:
        Tensor `(batch × N, cells, pixels)`.
    """
    level = ops.zeros_like(edges[..., 0], dtype="int32")
    places, weights = sample_points(edges, level, [pixels], cells, sampling_ratio, aligned)
    number = ops.shape(edges)[0] * ops.shape(edges)[1] * cells
    row = ops.reshape(ops.arange(number, dtype="int32"), (-1, 1))
    index = ops.reshape(places, (-1, places.shape[-1])) + row * pixels
    total = ops.scatter_update(
        ops.zeros((number * pixels,), weights.dtype),
        ops.reshape(index, (-1, 1)),
        ops.reshape(weights, (-1,)),
        reduction="add",
    )
    return ops.reshape(total, (-1, cells, pixels))


def _check(masks, boxes, matches):
    shapes = [tuple(x.shape) for x in (masks, boxes, matches)]
    if (
        [len(shape) for shape in shapes] != [4, 3, 2]
        or not shapes_match(shapes[1][:2], shapes[2])
        or not shapes_match(shapes[0][:1], shapes[1][:1])
    ):
        raise ValueError(
            f"Expected masks (batch, M, height, width), boxes (batch, N, 4) and matches (batch, "
            f"N); received shapes {', '.join(map(str, shapes))}."
        )
    if not all(shapes[0][2:]) or shapes[0][1] is None:
        raise ValueError(
            f"The number, height and width of the masks must be known; received shape "
            f"{shapes[0]}. Pad them to a fixed number."
        )
