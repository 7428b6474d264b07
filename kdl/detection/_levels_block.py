"""Blocks that take the levels of a pyramid."""

from keras import ops

from kdl.layers._block import Block


class LevelsBlock(Block):
    """Base of the blocks whose input is a list of features, finest first."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.input_spec = None

    def _list_of_shapes(self, shapes):
        """The shapes of a list of features; ValueError if it is none."""
        is_list = isinstance(shapes, list | tuple) and len(shapes) > 0
        if not is_list or not isinstance(shapes[0], list | tuple):
            raise ValueError(f"Expected a list of features, finest first; received {shapes}.")
        return [tuple(shape) for shape in shapes]

    def _size(self, shape):
        """Height and width of features, which must be known."""
        size = tuple(shape[1:3] if self._factory.axis == -1 else shape[2:4])
        if len(shape) != 4 or None in size:
            raise ValueError(
                f"Expected features of four axes, whose height and width are known; received shape "
                f"{tuple(shape)}."
            )
        return size

    def _rows(self, x, per_cell, numbers):
        """A row of numbers for each anchor of a level."""
        if self._factory.axis == 1:
            x = ops.transpose(x, (0, 2, 3, 1))
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2] * per_cell, numbers))
