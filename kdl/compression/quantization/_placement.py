"""Placement of fake quantization in a graph, and the tensors that share a range."""

import dataclasses

import keras
import numpy as np

from kdl.compression.quantization._decompose import norms_after_convolutions
from kdl.compression.quantization._rules import (
    FIXED_RANGE,
    RELUS,
    SAME_RANGE,
    goes_unrounded,
    makes_numbers,
    reason_for_float,
    ties_of,
)
from kdl.graph.kinds import is_float


@dataclasses.dataclass
class Quantizer:
    """Quantization of one tensor.

    Attributes:
        fixed_range: Range that TFLite prescribes, or None.
        group: Number of the range that it shares, or None.
        site: Which of the group's tensors it is.
        ties: Where what lies halfway goes, as `FakeQuantize` takes it.
    """

    fixed_range: tuple | None = None
    group: int | None = None
    site: int = 0
    ties: str | None = None


@dataclasses.dataclass
class Placement:
    """The quantizers of a graph.

    Attributes:
        quantizers: Dict: id of a tensor → `Quantizer`.
        groups: For each range the names of what makes its tensors.
        reasons: Dict: id of a node → why it stays float.
        standalone_relus: Ids of the ReLUs that read a quantized tensor.
    """

    quantizers: dict
    groups: list
    reasons: dict
    standalone_relus: set


def place(graph):
    """`Placement` for a decomposed graph.

    A tensor is quantized where it is made, except inside of what is computed in one (convolution,
    batch norm, ReLU). What only moves numbers quantizes nothing: its inputs and outputs share a
    range. So do those of an average, which is quantized.
    """
    reasons = _reasons(graph)
    producers, consumers = _producers(graph), graph.consumers()
    representative = _shared(graph, reasons)
    members = {}
    for tensor, (name, node) in producers.items():
        rounds = not _keeps_range(node, reasons) or makes_numbers(node)
        if rounds and not _is_inside(tensor, node, consumers, reasons):
            members.setdefault(representative(tensor), []).append((tensor, name, node))
    required = _required(graph, reasons, representative)
    quantizers, groups = {}, []
    for root, tensors in members.items():
        if root in required:
            _quantize_group(tensors, quantizers, groups, reasons)
    standalone_relus = {
        id(node)
        for node in graph.nodes
        if node.kind in RELUS
        and id(node) not in reasons
        and not _is_inside(id(node.inputs[0]), producers[id(node.inputs[0])][1], consumers, reasons)
    }
    return Placement(quantizers, groups, reasons, standalone_relus)


def _reasons(graph):
    """Dict: id of a node → why it stays float. Nodes without floats are of no concern."""
    norms = norms_after_convolutions(graph)
    found, infinite = {}, set()
    for node in graph.nodes:
        if not any(map(is_float, node.results)):
            continue
        reason = reason_for_float(node, after_convolution=id(node.operation) in norms)
        if reason is None and not all(map(is_float, node.inputs)):
            reason = "it reads integers"
        if reason is None and infinite.intersection(map(id, node.inputs)):
            reason = "what it reads is padded with infinite numbers"
        if node.kind == "Pad" and not np.isfinite(node.kwargs.get("constant_values") or 0):
            infinite.update(map(id, node.results))
        if reason:
            found[id(node)] = reason
    return found


def _producers(graph):
    """Dict: id of a float tensor → (name, node that made it or None for an input)."""
    inputs = keras.tree.flatten(graph.inputs)
    found = {id(x): ("the input", None) for x in inputs if is_float(x)}
    for node in graph.nodes:
        for x in node.results:
            if is_float(x):
                found[id(x)] = node.name, node
    return found


def _keeps_range(node, reasons):
    """Tell if the output of `node` (None for an input of the model) has its inputs' range."""
    return node is not None and node.kind in SAME_RANGE and id(node) not in reasons


def _is_inside(tensor, node, consumers, reasons):
    if node is None or id(node) in reasons or len(consumers[tensor]) != 1:
        return False
    [consumer] = consumers[tensor]
    return consumer is not None and id(consumer) not in reasons and goes_unrounded(node, consumer)


def _shared(graph, reasons):
    """Function from a tensor's id to the one that stands for all that share its range."""
    parent = {}

    def find(tensor):
        while tensor in parent:
            tensor = parent[tensor]
        return tensor

    for node in graph.nodes:
        if _keeps_range(node, reasons):
            first, *others = [find(id(x)) for x in node.inputs + node.results]
            for other in others:
                if find(other) != find(first):
                    parent[find(other)] = find(first)
    return find


def _required(graph, reasons, representative):
    """Ranges that some quantized operation reads or makes."""
    found = set()
    for node in graph.nodes:
        quantized = id(node) not in reasons and any(map(is_float, node.results))
        if quantized and not _keeps_range(node, reasons):
            found.update(representative(id(x)) for x in node.inputs + node.results)
    return found


def _quantize_group(tensors, quantizers, groups, reasons):
    """Adds the quantizers of the tensors of one range."""
    fixed = {t: FIXED_RANGE.get(n.kind) for t, _, n in tensors if n and id(n) not in reasons}
    ties = {t: ties_of(n) if _keeps_range(n, reasons) else None for t, _, n in tensors}
    same = {fixed.get(t) for t, _, n in tensors if not _keeps_range(n, reasons)}
    if len(same) == 1 and None not in same:
        [only] = same
        quantizers.update({t: Quantizer(fixed_range=only, ties=ties[t]) for t, _, _ in tensors})
        return
    for site, (tensor, _, _) in enumerate(tensors):
        quantizers[tensor] = Quantizer(fixed.get(tensor), len(groups), site, ties[tensor])
    groups.append([name for _, name, _ in tensors])
