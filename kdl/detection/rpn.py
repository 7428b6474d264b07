"""Region proposal network (arXiv 1506.01497)."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kdl._checks import check_integer
from kdl._typing import Shape, Tensor
from kdl.detection._levels_block import LevelsBlock
from kdl.detection._part import as_config, as_part
from kdl.detection.anchor_generator import AnchorGenerator
from kdl.detection.box_coder import BoxCoder
from kdl.layers._chain import build_chain, run_chain
from kdl.layers._layer_factory import LayerFactory
from kdl.ops.boxes import clip_boxes
from kdl.ops.nms import batched_nms, check_iou_threshold

_SMALLEST_SIDE = 1e-3
_SIZES = ((32,), (64,), (128,), (256,), (512,))


@keras.saving.register_keras_serializable("kdl")
class RPN(LevelsBlock):
    """Region proposal network: boxes that may hold an object, of whatever class.

    On each level `depth` 3×3 convolutions with ReLU, then 1×1 convolutions for the objectness of
    every anchor and for its offsets; all levels share the weights. The `candidates` most likely
    anchors of each level become boxes, cut off at the image's borders; those without area are
    dropped; of those of a level that overlap by more than `iou_threshold` the most likely stays;
    the best `proposals` of all levels are the result. Proposals have no gradient.

    Shapes: a list of features `(batch, height, width, C)`, finest first → a dict of

    - `"objectness"` logits `(batch, N)` and `"box_offsets"` `(batch, N, 4)`, float32, of all
      anchors, in the order of `AnchorGenerator`;
    - `"proposals"` `(batch, proposals, 4)`, xyxy in pixels, by falling score, and
      `"proposal_scores"` `(batch, proposals)`, probabilities; where there are fewer, 0 and −1.

    Channels of features are at axis 1 with `data_format="channels_first"`. Heights and widths are
    known.

    Args:
        image_size: Height and width of the network's input.
        anchors: An `AnchorGenerator` of as many anchors a cell on each level, or its serialized
            form. Defaults to one size a level from 32 to 512 pixels, and three ratios.
        depth: Number of 3×3 convolutions. Defaults to 1; torchvision's second recipe has 2.
        filters: Their channels. Defaults to 256.
        candidates: Anchors of a level that become boxes, while training and else. Defaults to
            (2000, 1000).
        proposals: Number of proposals, likewise. Defaults to (2000, 1000).
        iou_threshold: As above. Defaults to 0.7.
        **kwargs: `data_format`, `name`, `dtype` and `trainable`, as in every block of kdl.

    Raises:
        ValueError: If an argument is out of range, or features do not fit the anchors.

    Source: Ren et al., Faster R-CNN (arXiv 1506.01497), section 3.1; Lin et al., Feature Pyramid
    Networks (arXiv 1612.03144), section 4.1.

    Example:
        >>> import numpy as np
        >>> rpn = RPN((32, 32), AnchorGenerator([(8,), (16,)]), filters=8, proposals=(20, 5),
        ...     data_format="channels_last")
        >>> outputs = rpn([np.ones((2, side, side, 4), "float32") for side in (8, 4)])
        >>> {key: tuple(x.shape) for key, x in outputs.items() if "proposal" in key}
        {'proposal_scores': (2, 5), 'proposals': (2, 5, 4)}
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        anchors: AnchorGenerator | dict | None = None,
        depth: int = 1,
        filters: int = 256,
        candidates: tuple[int, int] = (2000, 1000),
        proposals: tuple[int, int] = (2000, 1000),
        iou_threshold: float = 0.7,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        height, width = image_size
        self.image_size = (height, width)
        self.anchors = as_part(anchors) or AnchorGenerator(_SIZES)
        self.depth = check_integer("depth", depth, least=0)
        self.filters = check_integer("filters", filters)
        self.candidates = tuple(check_integer("candidates", number) for number in candidates)
        self.proposals = tuple(check_integer("proposals", number) for number in proposals)
        self.iou_threshold = iou_threshold
        self.coder = BoxCoder()
        check_iou_threshold(iou_threshold)
        if len(set(self.anchors.per_cell)) != 1:
            raise ValueError(
                f"All levels share the weights, so each needs as many anchors a cell; received "
                f"{self.anchors.per_cell}."
            )

    def build(self, input_shape: Sequence[Shape]) -> None:
        """Make the convolutions."""
        shapes = self._list_of_shapes(input_shape)
        grids = [self._size(shape) for shape in shapes]
        # A tensor would be of the graph it was made in.
        self.boxes = self.anchors.placed(self.image_size, grids)
        self.levels = [math.prod(grid) * self._per_cell for grid in grids]
        self.tower = []
        for number in range(self.depth):
            self.tower += self._factory.conv(
                self.filters, 3, f"conv{number}", use_bias=True, kernel_initializer=_normal()
            )
            self.tower.append(self._factory.relu(f"relu{number}"))
        shape = build_chain(self.tower, shapes[0])
        self.objectness = self._last(self._per_cell, "objectness", shape)
        self.box_offsets = self._last(4 * self._per_cell, "box_offsets", shape)

    def call(self, inputs: Sequence[Tensor], training: bool | None = None) -> dict[str, Tensor]:
        """Apply the network to every level, and choose proposals."""
        logits, offsets = [], []
        for level in inputs:
            x = run_chain(self.tower, level, training)
            scores = run_chain(self.objectness, x, training)
            logits.append(self._rows(scores, self._per_cell, 1)[..., 0])
            offsets.append(self._rows(run_chain(self.box_offsets, x, training), self._per_cell, 4))
        logits, offsets = ops.concatenate(logits, 1), ops.concatenate(offsets, 1)
        boxes, scores = self.propose(logits, offsets, training)
        return {
            "objectness": logits,
            "box_offsets": offsets,
            "proposal_scores": scores,
            "proposals": boxes,
        }

    def propose(
        self, objectness: Tensor, box_offsets: Tensor, training: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        """Proposals and their scores, of logits and offsets of all anchors."""
        most, count = (pair[0 if training else 1] for pair in (self.candidates, self.proposals))
        objectness, box_offsets = (
            ops.stop_gradient(ops.convert_to_tensor(x)) for x in (objectness, box_offsets)
        )
        first, places, levels = 0, [], []
        for number, anchors in enumerate(self.levels):
            kept = min(most, anchors)
            best = ops.top_k(objectness[:, first : first + anchors], kept)[1]
            places.append(ops.cast(best, "int32") + first)
            levels += [number] * kept
            first += anchors
        places = ops.concatenate(places, 1)
        scores = ops.sigmoid(ops.take_along_axis(objectness, places, 1))
        boxes = self.coder.decode(_rows(box_offsets, places), ops.take(self.boxes, places, axis=0))
        boxes = clip_boxes(boxes, self.image_size)
        has_area = ops.all(boxes[..., 2:] - boxes[..., :2] >= _SMALLEST_SIDE, -1)
        scores = ops.where(has_area, scores, -math.inf)
        levels = ops.broadcast_to(np.array(levels, "int32"), ops.shape(scores))
        chosen = batched_nms(boxes, scores, levels, self.iou_threshold, max_detections=count)
        exists, chosen = chosen >= 0, ops.maximum(chosen, 0)
        boxes = ops.where(ops.expand_dims(exists, -1), _rows(boxes, chosen), 0.0)
        return boxes, ops.where(exists, ops.take_along_axis(scores, chosen, 1), -1.0)

    def compute_output_shape(self, input_shape: Sequence[Shape]) -> dict[str, Shape]:
        """Shapes of the outputs of a network that is not in training."""
        shapes = self._list_of_shapes(input_shape)
        count = sum(math.prod(self._size(shape)) for shape in shapes) * self._per_cell
        batch, proposals = shapes[0][0], self.proposals[1]
        return {
            "objectness": (batch, count),
            "box_offsets": (batch, count, 4),
            "proposal_scores": (batch, proposals),
            "proposals": (batch, proposals, 4),
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        config.update(
            image_size=self.image_size,
            anchors=as_config(self.anchors),
            depth=self.depth,
            filters=self.filters,
            candidates=self.candidates,
            proposals=self.proposals,
            iou_threshold=self.iou_threshold,
        )
        return config

    @property
    def _per_cell(self):
        return self.anchors.per_cell[0]

    def _last(self, filters, name, shape):
        factory = LayerFactory(self.padding, self.data_format, keras.DTypePolicy("float32"))
        layers = factory.conv(filters, 1, name, use_bias=True, kernel_initializer=_normal())
        build_chain(layers, shape)
        return layers


def _rows(boxes, places):
    return ops.take_along_axis(boxes, ops.expand_dims(places, -1), 1)


def _normal():
    return keras.initializers.RandomNormal(stddev=0.01)
