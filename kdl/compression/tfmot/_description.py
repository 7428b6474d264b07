"""Description of a Keras 3 model as data, from which another process builds it in tf_keras."""

import dataclasses

import keras
import numpy as np

from kdl.compression.quantization._affine import constants_of
from kdl.compression.quantization._decompose import decompose
from kdl.compression.quantization._rules import reason_for_float
from kdl.compression.tfmot._counterparts import (
    AFFINE,
    LAYERS,
    MERGES,
    NOTHING,
    OPERATIONS,
    OUTPUT,
    SAME_ACTIVATIONS,
    TAKES_NORM,
    WITH_KERNEL,
    Counterpart,
)
from kdl.graph.fold_batch_norm import is_foldable
from kdl.graph.inline import inline
from kdl.graph.read_graph import read_graph

_REGULARIZERS = ("L1", "L2", "L1L2")


@dataclasses.dataclass(frozen=True)
class Description:
    """A model for the other process.

    Attributes:
        graph: Dict for JSON: `inputs`, `nodes`, `outputs`.
        weights: Dict: name of a node's layer → its arrays.
        origin: Dict: name of a node's layer → name of the layer in the flat, decomposed graph whose
            weights it has.
    """

    graph: dict
    weights: dict
    origin: dict

    def with_kernel(self, layers=None, frozen=True):
        """Names, in the other process, of the layers with a kernel.

        Args:
            layers: Names of these layers in the flat model; all by default.
            frozen: Whether those that are not trained count.

        Raises:
            ValueError: If there is no such layer, or it is frozen and must not be.
        """
        nodes = [node for node in self.graph["nodes"] if node["layer"] in WITH_KERNEL]
        known = {node["label"]: node["name"] for node in nodes}
        still = {node["name"] for node in nodes if not (frozen or node["config"]["trainable"])}
        if layers is None:
            return [name for name in known.values() if name not in still]
        found = [known.get(name, known.get(f"{name}_pointwise")) for name in layers]
        if None in found:
            raise ValueError(
                f"The model has no layer {layers[found.index(None)]} with a kernel; it has "
                f"{', '.join(known)}."
            )
        for name, inner in zip(layers, found, strict=True):
            if inner in still:
                raise ValueError(
                    f"{name} is frozen, and its values are trained: set its trainable to True, or "
                    f"leave it out of layers."
                )
        return found


def describe(model, for_quantization):
    """`Description` of a functional model.

    Args:
        model: The model.
        for_quantization: Whether each operation must have an int8 form.

    Raises:
        ValueError: If the model is not functional or not float32, or a part has no counterpart.
    """
    graph = inline(read_graph(model))
    _check_dtypes(graph)
    return _Describer(decompose(graph, keep=AFFINE), for_quantization).description()


def _check_dtypes(graph):
    for node in filter(_is_layer, graph.nodes):
        dtype = node.operation.compute_dtype
        if getattr(node.operation, "lora_enabled", False):
            raise ValueError(
                f"{node.name} has adapters (LoRA): its kernel is a sum, of which TensorFlow Model "
                f"Optimization knows nothing. Give the sum, layer.kernel, to a model without "
                f"adapters."
            )
        if dtype != "float32":
            raise ValueError(
                f"TensorFlow Model Optimization works in float32; {node.name} computes in "
                f"{dtype}. Build the model with dtype float32 and load its weights."
            )
    for x in keras.tree.flatten(graph.inputs):
        if keras.backend.standardize_dtype(x.dtype) != "float32":
            raise ValueError(f"Expected inputs of float32; the input {x.name} has {x.dtype}.")


class _Describer:
    """Goes through a graph once and notes each node."""

    def __init__(self, graph, for_quantization):
        self.graph = graph
        self.for_quantization = for_quantization
        self.producers, self.consumers = graph.producers(), graph.consumers()
        self.tensors = {}  # id → number
        self.names = {}  # id of a layer → name of its counterpart
        self.nodes, self.weights, self.origin = [], {}, {}

    def description(self):
        """The whole model."""
        inputs = keras.tree.flatten(self.graph.inputs)
        shapes = [{"tensor": self._number(x), "shape": list(x.shape[1:])} for x in inputs]
        for node in self.graph.nodes:
            self._add(node)
        outputs = [self.tensors[id(x)] for x in keras.tree.flatten(self.graph.outputs)]
        graph = {"inputs": shapes, "nodes": self.nodes, "outputs": outputs}
        return Description(graph, self.weights, self.origin)

    def _number(self, x):
        return self.tensors.setdefault(id(x), len(self.tensors))

    def _add(self, node):
        idle = "Dropout" in node.kind and node.kwargs.get("training") is False
        if node.kind in NOTHING or idle:
            self.tensors[id(node.results[0])] = self.tensors[id(node.inputs[0])]
            return
        counterpart = self._counterpart(node)
        name = self._name(node)
        self.nodes.append(
            {
                "name": name,
                "label": node.name,
                "layer": counterpart.layer,
                "config": self._config(node, counterpart),
                "quantize": counterpart.quantize,
                "inputs": [self.tensors[id(x)] for x in node.inputs],
                "outputs": [self._number(x) for x in node.results],
            }
        )
        if _is_layer(node) and name not in self.weights:
            self._keep_weights(name, node, counterpart)

    def _name(self, node):
        """Name of the counterpart; the calls of a shared layer share it."""
        fresh = f"n{len(self.nodes)}"
        return self.names.setdefault(id(node.operation), fresh) if _is_layer(node) else fresh

    def _counterpart(self, node):
        """The counterpart of a node, or ValueError."""
        if self._stands_alone(node):
            return self._affine_counterpart(node)
        known = LAYERS if _is_layer(node) else OPERATIONS
        tensors_only = len(node.args) == len(node.inputs) == 2
        if node.kind in MERGES and not _is_layer(node) and tensors_only:
            known = MERGES
        counterpart = known.get(node.kind)
        reason = None if counterpart else "tf_keras has no counterpart of it"
        if counterpart and node.kind == "Activation" and _activation(node) not in SAME_ACTIVATIONS:
            reason = f"tf_keras has no activation {_activation(node)} that computes the same"
        if not reason and self.for_quantization:
            reason = reason_for_float(node, after_convolution=True)
            if not reason and counterpart.quantize is None:
                reason = "it has no int8 form"
        if reason:
            raise ValueError(_unsupported(node, reason, self.for_quantization))
        return counterpart

    def _stands_alone(self, node):
        """Tell if a node is a scale and a shift that no layer before it can hold."""
        if node.kind != "BatchNormalization":
            return node.kind in AFFINE
        return self.for_quantization and not self._joins_layer_before(node)

    def _joins_layer_before(self, node):
        [x] = node.inputs
        before = self.producers.get(id(x))
        return (
            before is not None
            and before.kind in TAKES_NORM
            and len(self.consumers[id(x)]) == 1
            and is_foldable(before.operation, node.operation, len(x.shape))
        )

    def _affine_counterpart(self, node):
        [x] = node.inputs
        rank = len(x.shape)
        last = node.kind != "BatchNormalization" or node.operation.axis in (-1, rank - 1)
        constant = (
            node.kind != "BatchNormalization" and constants_of(node.operation, x.shape) is None
        )
        if rank not in (2, 4) or not last or constant:
            reason = "no counterpart acts on this axis"
            raise ValueError(_unsupported(node, reason, self.for_quantization))
        return Counterpart("ChannelAffine", quantize=OUTPUT)

    def _config(self, node, counterpart):
        config = node.operation.get_config()
        if config.get("data_format") == "channels_first":
            raise ValueError(_unsupported(node, "channels_first does not run there", False))
        if counterpart.layer == "ChannelAffine":
            return _affine_config(node)
        found = {key: _plain(node, config[key]) for key in counterpart.arguments if key in config}
        found.update({key: config[other] for key, other in counterpart.others.items()})
        found.update(counterpart.fixed)
        if any(_matters(key, value) for key, value in node.kwargs.items()):
            raise ValueError(_unsupported(node, f"it is called with {sorted(node.kwargs)}", False))
        if counterpart.layer == "Operation":
            template = [_plain(node, x, node.inputs) for x in node.args]
            return {"kind": node.kind, "settings": found, "template": template}
        found.update(_regularizers(node, config))
        frozen = node.kind == "BatchNormalization" and node.kwargs.get("training") is False
        found["trainable"] = bool(config.get("trainable", True)) and not frozen
        return found

    def _keep_weights(self, name, node, counterpart):
        if counterpart.layer == "ChannelAffine" and node.kind != "BatchNormalization":
            [x] = node.inputs
            pair = constants_of(node.operation, x.shape)
            self.weights[name] = [np.broadcast_to(np.float32(a), x.shape[-1:]) for a in pair]
        elif node.operation.weights:
            self.weights[name] = node.operation.get_weights()
            self.origin[name] = node.name


def _is_layer(node):
    return isinstance(node.operation, keras.layers.Layer)


def _matters(key, value):
    """Tell if an argument of a call asks for something that the counterpart does not do."""
    return key != "training" and not (value is None or (isinstance(value, int) and not value))


def _activation(node):
    return getattr(node.operation.activation, "__name__", "of its own")


def _affine_config(node):
    layer = node.operation
    if node.kind != "BatchNormalization":
        return {"epsilon": None, "trainable": False}
    return {
        "epsilon": layer.epsilon,
        "center": layer.center,
        "scale": layer.scale,
        "trainable": layer.trainable,
    }


def _regularizers(node, config):
    found = {}
    for key, value in config.items():
        if value is None or not key.endswith(("_regularizer", "_constraint")):
            continue
        name = value.get("class_name") if isinstance(value, dict) else None
        if not key.endswith("_regularizer") or name not in _REGULARIZERS:
            reason = f"its {key} has no counterpart; of these L1, L2 and L1L2 regularizers have"
            raise ValueError(_unsupported(node, reason, False))
        found[key] = {"class_name": name, "config": value["config"]}
    return found


def _plain(node, x, tensors=()):
    """An argument as JSON holds it; tensors become their place among the node's inputs."""
    if keras.backend.is_keras_tensor(x):
        place = next((i for i, other in enumerate(tensors) if other is x), None)
        if place is None:
            raise ValueError(_unsupported(node, "a dynamic dimension decides its shape", False))
        return {"tensor": place}
    if isinstance(x, slice):
        return {"slice": [_plain(node, part) for part in (x.start, x.stop, x.step)]}
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, list | tuple):
        return [_plain(node, part, tensors) for part in x]
    if isinstance(x, np.generic):
        return x.item()
    if x is None or isinstance(x, bool | int | float | str):
        return x
    raise ValueError(_unsupported(node, "an argument is a constant array", False))


def _unsupported(node, reason, for_quantization):
    kinds = {*LAYERS, *OPERATIONS, *AFFINE}
    known = sorted({x for x in kinds if not for_quantization or _has_int8_form(x)})
    advice = (
        "kdl.compression.quantize_aware takes the model and leaves the layer in float."
        if for_quantization
        else "Rewrite that part of the model in terms of these."
    )
    return (
        f"{node.name} ({node.kind}) cannot go to TensorFlow Model Optimization: "
        f"{reason}. These can: {', '.join(known)}. {advice}"
    )


def _has_int8_form(kind):
    counterparts = [table[kind] for table in (LAYERS, OPERATIONS) if kind in table]
    return kind in AFFINE or any(counterpart.quantize is not None for counterpart in counterparts)
