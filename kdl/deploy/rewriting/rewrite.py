"""A model in operations that a device takes."""

import dataclasses

import keras
import numpy as np

from kdl.deploy.rewriting._rewrites import FORMS, View
from kdl.graph.inline import inline
from kdl.graph.read_graph import read_graph
from kdl.graph.rebuild import rebuild
from kdl.graph.substitute import substitute


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """A layer or operation in another form.

    Attributes:
        name: Its name in the flat model.
        kind: Name of its class.
        form: What it has become.
        exact: Whether it computes the same numbers, but for rounding.
        difference: If not: the largest difference measured, for inputs from −8 to 8.
    """

    name: str
    kind: str
    form: str
    exact: bool
    difference: float = 0.0

    def __str__(self):
        equal = "exact" if self.exact else f"not exact, up to {self.difference:.2g} off"
        return f"{self.name} ({self.kind}) → {self.form}: {equal}"


def rewrite_for(model: keras.Model, target: str) -> tuple[keras.Model, list[Rewrite]]:
    """Rewrites what a device would refuse, compute wrong or slowly, and keeps the weights.

    For `"gpu"`:

    - convolutions in groups that mobile GPUs compute wrong (`kdl.ops.mobile_gpu_safe`; those of 1×1
      in int8) become a split, plain convolutions and a concatenation
    - 1×1 convolutions with strides, which are computed wrong in int8, slice with steps before
    - padding by zeros that a pooling would leave out is kept apart from it by a product with
      `1 + 2⁻²³`; padding by other numbers that a convolution would take for zeros is padding by
      zeros and a sum
    - channel shuffles by five axes become those by four
    - parts of one split that only meet each other again become slices, a split into one part
      vanishes
    - running sums along an axis counted from the end count it from the front
    - log-softmax becomes exponentials, a sum and a logarithm

    For `"edgetpu"`:

    - all convolutions in groups are split, since theirs are not documented
    - channel shuffles become 1×1 convolutions with a constant permutation
    - dense layers on the pixels of images become 1×1 convolutions
    - slices with steps over the pixels become 1×1 poolings with strides
    - hard-swish becomes `x / 6 · relu6(x + 3)`, leaky ReLU a PReLU with constant slopes
    - GELU becomes `x · sigmoid(1.702 x)`, which is not exact

    For `"cpu"`, what is only slow there:

    - zeros around what a ReLU has left, for a max-pool alone, become the lowest float32: LiteRT
      pads by such a number some two times faster. For float files, not before quantization

    Fold batch norms before it (`kdl.compression.fold_batch_norm`): after a convolution that was
    split none can be folded. Quantize after it. What it does not know is left as it is: `check` the
    file.

    Args:
        model: A functional or Sequential model, built.
        target: `"gpu"`, `"edgetpu"` or `"cpu"`.

    Returns:
        `(model, rewrites)`: a flat `keras.Model`, not compiled, with weights of its own, and a list
        of `Rewrite`.

    Raises:
        ValueError: If `target` is unknown or the model is not functional.

    Example:
        >>> import keras
        >>> inputs = keras.Input((8, 8, 4))
        >>> model = keras.Model(inputs, keras.layers.Conv2D(8, 3, groups=2, name="c")(inputs))
        >>> safe, rewrites = rewrite_for(model, "gpu")
        >>> print(rewrites[0])
        c (Conv2D) → convolutions without groups: exact
    """
    if target not in FORMS:
        raise ValueError(f"target must be one of {tuple(FORMS)}; received {target!r}.")
    rewrites, found = [], True
    graph = inline(read_graph(model))
    while found:  # a convolution in groups may have an activation that needs a form of its own
        graph, found = _once(graph, FORMS[target])
        rewrites += found
    return rebuild(graph), rewrites


def _once(graph, forms):
    """The graph with one form for each node that needs one, and the list of `Rewrite`s."""
    view, rewrites = View(graph), []

    def replace(node, args, kwargs, once):
        form = _form_for(node, view, forms)
        if form is None:
            return None
        rewrites.append(_rewrite(node, form))
        return form.make(node, args, view.at(once))

    return substitute(graph, replace), rewrites


def _form_for(node, view, forms):
    """The first form of the table that a node needs; None if it needs none."""
    for form in forms:
        if (not form.kinds or node.kind in form.kinds) and form.needed(node, view):
            return form
    return None


def _rewrite(node, form):
    difference = 0.0 if form.exact else _difference(node, form)
    return Rewrite(node.name, node.kind, form.text, form.exact, difference)


def _difference(node, form):
    """The largest difference of two activations."""
    x = np.linspace(-8, 8, 4001, dtype="float32")[None]
    operation = node.operation
    before = getattr(operation, "activation", None) or operation
    y, z = (keras.ops.convert_to_numpy(f(x)) for f in (before, _alone(form)))
    return float(np.max(np.abs(y - z)))


def _alone(form):
    return lambda x: form.make.function(x, None, None)
