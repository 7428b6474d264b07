"""What all image classifiers of kdl share."""

import os
import warnings

import keras

from kdl.applications.weights.convert import load_torch_weights
from kdl.ops.channels import channel_axis

_TORCH_FILES = (".pth", ".pt", ".bin", ".safetensors")


class Application(keras.Model):
    """Base of the models in `kdl.applications`: a functional model that knows its own arguments.

    A family builds its graph, then hands over here the constructor's arguments, which become
    `get_config`, so that a model is saved as its arguments and weights.

    Args:
        inputs: The `keras.Input` of the graph.
        outputs: Its output tensor.
        pyramid: Dict `"P1"…"P5"` → last tensor of stride 2ⁿ.
        arguments: The constructor's own arguments, as plain data.
        name: Name of the model.
    """

    def __init__(self, inputs, outputs, pyramid, arguments, name):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._pyramid = dict(pyramid)
        self._arguments = dict(arguments)

    @property
    def pyramid_outputs(self):
        """Dict `"P1"…"P5"` → the last tensor whose stride is 2ⁿ: what a feature pyramid takes.

        Example:
            >>> import keras, kdl
            >>> model = kdl.applications.ShuffleNetV2(0.5, include_top=False)
            >>> features = keras.Model(model.inputs, model.pyramid_outputs)
            >>> {k: v.shape[-1] for k, v in features.output.items()}
            {'P1': 24, 'P2': 24, 'P3': 48, 'P4': 96, 'P5': 1024}
        """
        return dict(self._pyramid)

    def torch_names(self):
        """Dict: path of each layer with weights → name of its module in the PyTorch reference."""
        raise ValueError(f"{type(self).__name__} has no PyTorch reference.")

    def load_initial_weights(self, weights, source=None):
        """Carries out the `weights` argument of an application.

        Args:
            weights: `None`, `"imagenet"`, or the path of a `.weights.h5`, `.keras`, `.pth` or
                `.safetensors` file.
            source: `WeightSource` of `"imagenet"`, if there is one.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or of another model, or the name is unknown.
        """
        if weights is None:
            return
        if weights == "imagenet":
            self._load_imagenet(source)
            return
        path = os.fspath(weights)
        if not os.path.exists(path):
            raise FileNotFoundError(
                f'weights={path!r}: no such file. Expected None, "imagenet" or a path.'
            )
        if path.endswith(_TORCH_FILES):
            load_torch_weights(self, path)
        elif path.endswith((".weights.h5", ".keras")):
            self._load_keras(path)
        else:
            raise ValueError(
                f"weights={path!r}: expected a file that ends in .weights.h5, .keras, "
                f"{', '.join(_TORCH_FILES)}."
            )

    def get_config(self):
        """The constructor's arguments; `weights` is None, so that a reload never downloads."""
        return {**self._arguments, "weights": None, "input_tensor": None, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Builds the model from its arguments."""
        return cls(**config)

    def _load_imagenet(self, source):
        if source is None:
            raise ValueError(
                f"No public ImageNet weights of {self.name} are known: pass weights=None, another "
                f"variant, or a file."
            )
        if self._arguments["include_top"] and self._arguments["classes"] != 1000:
            raise ValueError(
                f'weights="imagenet" with include_top=True needs classes=1000; received '
                f"classes={self._arguments['classes']}. Use include_top=False and add a head."
            )
        load_torch_weights(self, source.download())

    def _load_whole(self, path):
        with warnings.catch_warnings():
            # Keras only warns of layers that the file lacks, and leaves them as they were.
            warnings.filterwarnings("error", message="Skipping", category=UserWarning)
            self.load_weights(path)

    def _load_keras(self, path):
        try:
            if path.endswith(".keras"):
                self.set_weights(keras.models.load_model(path, compile=False).get_weights())
            else:
                self._load_whole(path)
        except (OSError, KeyError, ValueError, UserWarning) as error:
            raise ValueError(
                f"{path} does not fit {self.name}: {error} Expected weights saved from the same "
                f"architecture and arguments."
            ) from error


def image_input(input_tensor, input_shape, include_top, data_format, minimum=32):
    """The `keras.Input` of an application, checked.

    Args:
        input_tensor: A `keras.Input`, or None.
        input_shape: Shape without batch, or None: 224² with top, any size without.
        include_top: Whether the model has a classifier.
        data_format: `"channels_last"` or `"channels_first"`.
        minimum: Smallest height and width.

    Raises:
        ValueError: If the shape is not that of an image, or too small, or the tensor is not an
            input.
    """
    channels_last = channel_axis(data_format) == -1
    if input_tensor is not None:
        if not _is_input(input_tensor):
            raise ValueError(
                "input_tensor must be a keras.Input. To use another tensor, call the model on it: "
                "`features = model(tensor)`."
            )
        given = tuple(input_tensor.shape[1:])
        if input_shape is not None and tuple(input_shape) != given:
            raise ValueError(f"input_shape={tuple(input_shape)} contradicts input_tensor: {given}.")
        input_shape = given
    if input_shape is None:
        size = 224 if include_top else None
        input_shape = (size, size, 3) if channels_last else (3, size, size)
    if len(input_shape) != 3:
        raise ValueError(f"input_shape must be three numbers, such as (224, 224, 3): {input_shape}")
    sizes = input_shape[:2] if channels_last else input_shape[1:]
    channels = input_shape[-1] if channels_last else input_shape[0]
    if channels is None or channels < 1:
        raise ValueError(f"The number of channels must be known; received {tuple(input_shape)}.")
    if any(size is not None and size < minimum for size in sizes):
        raise ValueError(
            f"The input must be at least {minimum}×{minimum} pixels; received input_shape="
            f"{tuple(input_shape)}. Enlarge the images, for instance with keras.layers.Resizing."
        )
    return input_tensor if input_tensor is not None else keras.Input(tuple(input_shape))


def classifier_head(
    x, include_top, pooling, classes, activation, data_format, dropout=0.0, use_bias=True
):
    """Global pooling and classifier, as the arguments of an application ask.

    The classifier computes in float32 under every dtype policy, for the softmax's sake.

    Args:
        x: Last feature map.
        include_top: Whether to classify.
        pooling: Without top: None, `"avg"` or `"max"`.
        classes: Number of classes.
        activation: Activation of the classifier; None gives logits.
        data_format: `"channels_last"` or `"channels_first"`.
        dropout: Fraction dropped before the classifier.
        use_bias: Whether the classifier has a bias.

    Raises:
        ValueError: If `pooling` or `classes` is out of range.
    """
    if pooling not in (None, "avg", "max"):
        raise ValueError(f'pooling must be None, "avg" or "max"; received {pooling!r}.')
    if include_top:
        if not isinstance(classes, int) or classes < 1:
            raise ValueError(f"classes must be a positive integer; received {classes!r}.")
        x = keras.layers.GlobalAveragePooling2D(data_format, name="pool")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name="dropout")(x)
        return keras.layers.Dense(
            classes, activation, use_bias=use_bias, dtype="float32", name="classifier"
        )(x)
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(data_format, name="pool")(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(data_format, name="pool")(x)
    return x


def _is_input(tensor):
    history = getattr(tensor, "_keras_history", None)
    return history is not None and isinstance(history.operation, keras.layers.InputLayer)
