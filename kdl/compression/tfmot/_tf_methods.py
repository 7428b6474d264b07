"""TF-MOT's methods on a tf_keras model. Used in the worker process only."""

import re

import numpy as np

from kdl.compression.tfmot._tf_model import custom_layers

# Ranges start from this many inputs; TF-MOT's own start at ±6 and move by a thousandth a step.
_RANGE_SAMPLES = 512


class Quantize:
    """Quantization-aware training."""

    def __init__(self, tf, keras, tfmot, settings):
        self.tf, self.keras, self.tfmot = tf, keras, tfmot
        self.scheme = _scheme(tfmot, settings["preserve"])

    def apply(self, model, graph):
        """A quantize-aware model with the weights of `model`."""
        api = self.tfmot.quantization.keras
        kinds = {node["name"]: node["quantize"] for node in graph["nodes"]}
        configs = _configs(api)

        def annotate(layer):
            if layer.name not in kinds:
                return layer
            return api.quantize_annotate_layer(layer, configs[kinds[layer.name]]())

        known = {kind.__name__: kind for kind in configs.values() if isinstance(kind, type)}
        _keep_order_of_inputs()
        with api.quantize_scope({**known, **custom_layers(self.tf, self.keras)}):
            annotated = self.keras.models.clone_model(model, clone_function=annotate)
            annotated.set_weights(model.get_weights())
            return api.quantize_apply(annotated, *self.scheme)

    def start(self, wrapped, model, inputs):
        """Sets the ranges of activations to what the float model gives."""
        ranges = {}
        for layer in wrapped.layers:
            for variable in layer.weights:
                end = _ENDS.search(variable.name)
                if end:
                    ranges.setdefault(_observed(layer), {})[end[1]] = variable
        found = _extremes(self.keras, model, ranges, [x[:_RANGE_SAMPLES] for x in inputs])
        for name, ends in ranges.items():
            ends["min"].assign(min(found[name][0], 0.0))
            ends["max"].assign(max(found[name][1], 0.0))

    def callbacks(self):
        """State of the training."""
        return []

    def weights(self, wrapped, model):
        """Dict: name of a layer → its arrays, without what quantization added."""
        values = {variable.name: variable.numpy() for variable in wrapped.variables}
        return {
            layer.name: [values[variable.name] for variable in layer.weights]
            for layer in model.layers
            if layer.weights
        }


def _keep_order_of_inputs():
    """Mends TF-MOT, which joins tensors in the order of the model's layers, not in their own."""
    from tensorflow_model_optimization.python.core.quantization.keras.graph_transformations import (
        model_transformer,
    )

    def layers_in_order(self, names):
        known = {layer["config"]["name"]: layer for layer in self._config["layers"]}
        return [known[name] for name in dict.fromkeys(names)]

    model_transformer.ModelTransformer._get_layers = layers_in_order


# Names of the variables that hold the range of an activation.
_ENDS = re.compile(r"(?:output|post_activation|quantize_layer(?:_\d+)?)_(min|max):0$")


def _observed(layer):
    """Name of the float model's layer whose outputs a layer of the wrapped model rounds."""
    if hasattr(layer, "layer"):
        return layer.layer.name
    # An input that is rounded, perhaps once for each of its readers.
    return layer.inbound_nodes[0].inbound_layers.name


def _scheme(tfmot, preserve):
    if preserve is None:
        return []
    combine = tfmot.experimental.combine
    schemes = {
        "sparsity": combine.Default8BitPrunePreserveQuantizeScheme,
        "clusters": lambda: combine.Default8BitClusterPreserveQuantizeScheme(False),
        "both": lambda: combine.Default8BitClusterPreserveQuantizeScheme(True),
    }
    return [schemes[preserve]()]


def _configs(api):
    """Dict: `quantize` of a counterpart → class of its quantize config, or a function of it."""

    class KeepsScale(api.QuantizeConfig):
        """Neither weights nor output are rounded."""

        def get_weights_and_quantizers(self, layer):
            return []

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            pass

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            return []

        def get_config(self):
            return {}

    class RoundsOutput(KeepsScale):
        """The output is rounded."""

        def get_output_quantizers(self, layer):
            return [
                api.quantizers.MovingAverageQuantizer(
                    num_bits=8, per_axis=False, symmetric=False, narrow_range=False
                )
            ]

    return {"default": lambda: None, "none": KeepsScale, "output": RoundsOutput}


def _extremes(keras, model, names, inputs):
    """Dict: name of a layer → (smallest, largest) value of its outputs."""
    layers = [model.get_layer(name) for name in names]
    outputs = [[x.get_output_at(n) for n in range(len(x.inbound_nodes))] for x in layers]
    probe = keras.Model(model.inputs, outputs)
    found = dict.fromkeys(names, (np.inf, -np.inf))
    for start in range(0, len(inputs[0]), 32):
        values = probe([x[start : start + 32] for x in inputs], training=False)
        for name, calls in zip(names, values, strict=True):
            low, high = found[name]
            for value in calls:
                low, high = min(low, np.min(value)), max(high, np.max(value))
            found[name] = low, high
    return found


class _Wrapping:
    """A method that wraps layers one by one."""

    def __init__(self, tf, keras, tfmot, settings):
        self.keras, self.tfmot, self.settings = keras, tfmot, settings

    def apply(self, model, graph):
        """A model with the chosen layers wrapped."""
        chosen = set(self.settings["layers"])

        def wrap(layer):
            return self._wrap(layer) if layer.name in chosen else layer

        return self.keras.models.clone_model(model, clone_function=wrap)

    def start(self, wrapped, model, inputs):
        """Nothing to set."""

    def weights(self, wrapped, model):
        """Dict: name of a layer → its arrays, without what the method added."""
        stripped = self._strip(wrapped)
        return {layer.name: layer.get_weights() for layer in stripped.layers if layer.weights}


class Prune(_Wrapping):
    """Pruning of small weights."""

    def _wrap(self, layer):
        api = self.tfmot.sparsity.keras
        options = dict(self.settings["schedule"])
        schedule = getattr(api, options.pop("kind"))(**options)
        return api.prune_low_magnitude(
            layer,
            schedule,
            block_size=tuple(self.settings["block_size"]),
            block_pooling_type=self.settings["block_pooling"].upper(),
            sparsity_m_by_n=self.settings["m_by_n"],
        )

    def _strip(self, wrapped):
        return self.tfmot.sparsity.keras.strip_pruning(wrapped)

    def callbacks(self):
        """State of the training."""
        return [self.tfmot.sparsity.keras.UpdatePruningStep()]


class Cluster(_Wrapping):
    """Weights that share few values."""

    def _wrap(self, layer):
        api = self.tfmot.clustering.keras
        if self._values_at_most(layer) < self.settings["clusters"]:
            return layer  # TF-MOT ends with an error there
        return api.cluster_weights(
            layer,
            self.settings["clusters"],
            api.CentroidInitialization[self.settings["initialization"]],
            preserve_sparsity=self.settings["preserve_sparsity"],
            cluster_per_channel=self.settings["per_channel"],
        )

    def _values_at_most(self, layer):
        """Number of weights that would share one set of values."""
        *inner, outputs = layer.get_weights()[0].shape
        per_channel = self.settings["per_channel"] and len(inner) > 1
        return int(np.prod(inner)) * (1 if per_channel else outputs)

    def _strip(self, wrapped):
        return self.tfmot.clustering.keras.strip_clustering(wrapped)

    def callbacks(self):
        """State of the training."""
        return []


METHODS = {"quantize": Quantize, "prune": Prune, "cluster": Cluster}
