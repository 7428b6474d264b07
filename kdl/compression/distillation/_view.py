"""Outputs, logits and features of a model in one call, for knowledge distillation."""

import keras
from keras import ops

from kdl.graph.read_graph import read_graph


class View:
    """Runs a model once for its outputs, its logits and the outputs of some of its layers.

    A plain object, so that a model that holds it doesn't track and save the layers twice.

    Args:
        model: A functional or Sequential model with one output.
        names: Names of layers whose outputs to give.
        from_logits: Whether the outputs are logits (True) or probabilities (False); None to see it
            from the last layer.

    Attributes:
        output_shape: Shape of the model's output.
        feature_shapes: Shapes of the layers' outputs.
    """

    def __init__(self, model, names, from_logits):
        graph = read_graph(model)
        if not keras.backend.is_keras_tensor(graph.outputs):
            raise ValueError(
                f"{model.name} must have one output, a tensor; received {graph.outputs}. Distill "
                f"a keras.Model that ends in one of them."
            )
        logits, self._is_probability = _find_logits(graph, from_logits)
        features = [_output_of(graph, name) for name in names]
        self.output_shape = graph.outputs.shape
        self.feature_shapes = [x.shape for x in features]
        self._model = keras.Model(graph.inputs, [graph.outputs, logits, *features])

    def __call__(self, inputs, training):
        """`(outputs, logits, features)`; logits and features in float32."""
        outputs, *others = self._model(inputs, training=training)
        logits, *features = [ops.cast(x, "float32") for x in others]
        if self._is_probability:
            # Its logarithm is a logit. Nothing below the smallest number there is gets a gradient.
            half = keras.backend.standardize_dtype(outputs.dtype) == "float16"
            logits = ops.log(ops.maximum(logits, 6e-8 if half else 1e-30))
        return outputs, logits, features


def _output_of(graph, name):
    made = {node.name: node.results for node in graph.nodes}
    if name not in made:
        raise ValueError(f"{graph.name} has no layer {name!r}. It has: {', '.join(made)}.")
    if len(made[name]) != 1:
        raise ValueError(
            f"Layer {name!r} of {graph.name} must give one tensor; it gives {made[name]}. Name one "
            f"of the layers that read them."
        )
    return made[name][0]


def _find_logits(graph, from_logits):
    """The tensor to take as logits, and whether it holds probabilities after all."""
    outputs = graph.outputs
    if from_logits is True:
        return outputs, False
    last = _last(graph)
    if last is not None and _is_softmax_alone(last, len(outputs.shape)):
        return last.inputs[0], False  # exact, where a rounded softmax has zeros
    activation = None if last is None else getattr(last.operation, "activation", None)
    if from_logits is False or activation is keras.activations.softmax:
        return outputs, True
    if activation is keras.activations.linear:
        return outputs, False
    raise ValueError(
        f"Whether {graph.name} gives logits or probabilities cannot be seen from its last layer: "
        f"pass from_logits=True or False."
    )


def _last(graph):
    """The call that made the outputs, before any rounding; None if they are an input."""
    producers = graph.producers()
    node = producers.get(id(graph.outputs))
    while node is not None and node.kind == "FakeQuantize":
        node = producers.get(id(node.inputs[0]))
    return node


def _is_softmax_alone(node, rank):
    """Tell if a call is a softmax over the last axis and nothing besides."""
    if node.kind == "Activation":
        return node.operation.activation is keras.activations.softmax
    return node.kind == "Softmax" and node.operation.axis in (-1, rank - 1)
