"""Builds a described model in tf_keras. Used in the worker process only."""

import numpy as np

from kdl.compression.tfmot import _tf_operations

# Keras 3's outputs and those of the counterpart may differ by this share of their spread.
_TOLERANCE = 1e-4


def custom_layers(tf, keras):
    """Dict: name → class, of the layers that tf_keras lacks."""

    class Operation(keras.layers.Layer):
        """One operation of `keras.ops`."""

        def __init__(self, kind, settings, template, **kwargs):
            super().__init__(**kwargs)
            self.kind = kind
            self.settings = settings
            self.template = template

        def call(self, inputs):
            tensors = inputs if isinstance(inputs, list | tuple) else [inputs]
            arguments = _tf_operations.decode(self.template, tensors)
            return _tf_operations.run(tf, self.kind, self.settings, arguments)

        def get_config(self):
            own = {"kind": self.kind, "settings": self.settings, "template": self.template}
            return {**super().get_config(), **own}

    def _depthwise(x, kernel, shift):
        return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "VALID") + shift

    class ChannelAffine(keras.layers.Layer):
        """A scale and a shift for each channel, as the depthwise convolution that int8 has.

        With an epsilon it is a batch norm with the statistics at hand, else it holds constants.
        """

        def __init__(self, epsilon, center=True, scale=True, **kwargs):
            super().__init__(**kwargs)
            self.epsilon = epsilon
            self.center = center
            self.scale = scale

        def build(self, shape):
            def weight(name, start, wanted, trainable):
                if not wanted:
                    return None
                return self.add_weight(name, shape[-1:], initializer=start, trainable=trainable)

            learns = self.epsilon is not None
            self.gamma = weight("gamma", "ones", self.scale, learns)
            self.beta = weight("beta", "zeros", self.center, learns)
            self.mean = weight("moving_mean", "zeros", learns, False)
            self.variance = weight("moving_variance", "ones", learns, False)
            super().build(shape)

        def call(self, inputs):
            scale, shift = self._affine()
            # A scale alone is its own range: rounding leaves it, and tells the converter.
            bound = tf.stop_gradient(tf.maximum(tf.abs(scale), 1e-6))
            kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                tf.reshape(scale, (1, 1, 1, -1)), -bound, bound, narrow_range=True
            )
            kernel = tf.transpose(kernel, (0, 1, 3, 2))  # as the converter turns them
            if inputs.shape.rank == 4:
                return _depthwise(inputs, kernel, shift)
            image = tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
            return tf.reshape(_depthwise(image, kernel, shift), (-1, inputs.shape[-1]))

        def _affine(self):
            if self.epsilon is None:
                return self.gamma, self.beta
            scale = tf.math.rsqrt(self.variance + self.epsilon)
            if self.scale:
                scale = scale * self.gamma
            shift = -self.mean * scale
            return scale, shift + self.beta if self.center else shift

        def get_config(self):
            own = {"epsilon": self.epsilon, "center": self.center, "scale": self.scale}
            return {**super().get_config(), **own}

    return {"Operation": Operation, "ChannelAffine": ChannelAffine}


def build(tf, keras, graph, weights):
    """The tf_keras model of a description; its layers are called as the nodes.

    Args:
        tf: The module `tensorflow`.
        keras: The module `tf_keras`.
        graph: `Description.graph`.
        weights: Dict: name of a layer → its arrays.

    Returns:
        A `tf_keras.Model`.
    """
    own = custom_layers(tf, keras)
    tensors, layers = {}, {}
    for entry in graph["inputs"]:
        tensors[entry["tensor"]] = keras.Input(entry["shape"], name=f"i{entry['tensor']}")
    inputs = list(tensors.values())
    for node in graph["nodes"]:
        if node["name"] not in layers:
            layers[node["name"]] = _make(keras, own, node)
        read = [tensors[number] for number in node["inputs"]]
        made = tf.nest.flatten(layers[node["name"]](read if len(read) > 1 else read[0]))
        if len(made) > 1:
            # TF-MOT would take a layer's first output for whichever is read.
            made = [
                own["Operation"]("Identity", {}, [{"tensor": 0}], name=f"part{number}")(x)
                for x, number in zip(made, node["outputs"], strict=True)
            ]
        tensors.update(zip(node["outputs"], made, strict=True))
    outputs = [tensors[number] for number in graph["outputs"]]
    model = keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])
    for name, arrays in weights.items():
        layers[name].set_weights(arrays)
    return model


def _make(keras, own, node):
    config = dict(node["config"])
    for key in config:
        if key.endswith("_regularizer"):
            config[key] = keras.regularizers.get(config[key])
    kind = own.get(node["layer"]) or getattr(keras.layers, node["layer"])
    return kind(name=node["name"], **config)


def prove(model, samples, expected):
    """Raises ValueError unless the model gives the expected outputs."""
    outputs = model.predict(samples, verbose=0)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    for actual, target in zip(outputs, expected, strict=True):
        error, spread = np.max(np.abs(actual - target)), np.ptp(target)
        if not error <= _TOLERANCE * max(spread, np.finfo("float32").tiny):
            raise ValueError(
                f"The outputs of the model in tf_keras differ from the Keras 3 model's: the "
                f"largest error is {error:.3g} where they span {spread:.3g}. Nothing was trained."
            )
