"""Equal forms of layers and operations that a device takes, and when they are needed."""

import copy
import dataclasses
from collections.abc import Callable

from kdl.deploy.rewriting import _activation_rewrites as activations
from kdl.deploy.rewriting import _convolution_rewrites as convolutions
from kdl.deploy.rewriting import _group_rewrites as groups
from kdl.deploy.rewriting import _padding_rewrites as padding
from kdl.deploy.rewriting import _shuffle_rewrites as shuffles
from kdl.deploy.rewriting import _slice_rewrites as slices


@dataclasses.dataclass(frozen=True)
class Form:
    """Another form of a layer or an operation.

    Attributes:
        kinds: Names of the classes that have it; empty for all.
        needed: Function of a `Node` and the `View` of its graph: whether the device needs it.
        make: Function of the node, its new arguments and the view; gives its new outputs.
        text: What it becomes.
        exact: Whether the outputs stay equal.
    """

    kinds: tuple
    needed: Callable
    make: Callable
    text: str
    exact: bool = True


class View:
    """Facts of the graph in which a form stands.

    Args:
        graph: The `Graph`.

    Attributes:
        producers: See `Graph`.
        consumers: See `Graph`.
        once: What `substitute` gives for the node at hand.
    """

    def __init__(self, graph):
        self.producers, self.consumers = graph.producers(), graph.consumers()
        self.once = None

    def at(self, once):
        """The same for one node."""
        view = copy.copy(self)
        view.once = once
        return view


_CONVOLUTIONS = ("Conv2D", "GroupedConv2D")

_APART = "a product by 1 + 2⁻²³ after the padding"

FORMS = {
    "gpu": [
        Form(
            _CONVOLUTIONS,
            convolutions.strided_pointwise,
            convolutions.sliced_pointwise,
            "a slice with steps before it",
        ),
        Form(
            ("AveragePool", "AveragePooling2D"),
            padding.averages_padding,
            padding.apart_from_padding,
            _APART,
        ),
        Form(
            ("MaxPool", "MaxPooling2D"), padding.pools_padding, padding.apart_from_padding, _APART
        ),
        Form(
            ("Pad",),
            padding.is_convolved,
            padding.padded_by_zeros,
            "x - c, padding by zeros, x + c",
        ),
        Form(
            _CONVOLUTIONS,
            groups.are_unsafe,
            groups.split,
            "convolutions without groups",
        ),
        Form(
            shuffles.MOVES,
            shuffles.is_wide_shuffle,
            shuffles.reshaped_shuffle,
            "a shuffle of four axes",
        ),
        Form(("Split",), slices.only_part, slices.whole, "what it splits"),
        Form(("Split",), slices.rejoined, slices.sliced, "slices"),
        Form(
            ("Cumsum",),
            slices.counts_from_end,
            slices.summed_from_front,
            "an axis counted from the front",
        ),
        Form(
            (),
            activations.acts("log_softmax"),
            activations.with_activation(activations.log_softmax),
            "z + log(1 / sum(exp(z)))",
        ),
    ],
    "edgetpu": [
        Form(
            _CONVOLUTIONS,
            groups.are_there,
            groups.split,
            "convolutions without groups",
        ),
        Form(
            shuffles.MOVES,
            shuffles.is_shuffle,
            shuffles.convolved_shuffle,
            "a 1×1 permutation convolution",
        ),
        Form(("Dense",), convolutions.on_pixels, convolutions.pixelwise, "a 1×1 convolution"),
        Form(
            ("GetItem",),
            slices.steps_over_pixels,
            slices.pooled_slice,
            "a 1×1 pooling with strides",
        ),
        Form(
            (),
            activations.acts("hard_silu"),
            activations.with_activation(activations.hard_swish),
            "x / 6 · relu6(x + 3)",
        ),
        Form(
            (),
            activations.acts("leaky_relu"),
            activations.with_activation(activations.constant_prelu),
            "PReLU with constant slopes",
        ),
        Form(
            (),
            activations.acts("gelu"),
            activations.with_activation(activations.sigmoid_gelu),
            "x · sigmoid(1.702 x)",
            exact=False,
        ),
    ],
    "cpu": [
        Form(
            ("Pad", "ZeroPadding2D"),
            padding.only_maxima_see,
            padding.padded_by_lowest,
            "padding by the lowest number",
        ),
    ],
}
