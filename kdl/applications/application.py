"""What all image classifiers of kdl share."""

import functools
import inspect
import os

import keras

from kdl.applications.model_state import from_state, with_state
from kdl.applications.preprocessing import input_spec
from kdl.applications.weights.convert import load_keras_weights, load_torch_weights
from kdl.applications.weights.own_file import load_own_weights
from kdl.data.input_spec import InputSpec
from kdl.data.model_info import ModelInfo, get_model_info, set_model_info
from kdl.ops.channels import channel_axis

_TORCH_FILES = (".pth", ".pt", ".bin", ".safetensors")


class Application(keras.Model):
    """Base of the models in `kdl.applications`: a functional model that knows its own arguments.

    A family builds its graph, then hands over here the constructor's arguments, which become
    `get_config`, so that a model is saved as its arguments and weights.

    `kdl.graph.copy_model` gives a copy of the same class with its weights;
    `keras.models.clone_model` gives a plain functional model of the same layers, without
    `pyramid_outputs` and the other attributes here. A file of a model is read by
    `keras.models.load_model` in a program that has imported kdl.

    Args:
        inputs: The `keras.Input` of the graph.
        outputs: Its output tensor.
        strides: The network's `Strides`, which has kept the tensors of its pyramid.
        arguments: The constructor's own arguments, as plain data.
        name: Name of the model.
    """

    def __init__(self, inputs, outputs, strides, arguments, name):
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._pyramid = dict(strides.pyramid)
        self._stages = dict(strides.stages)
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

    @property
    def stage_outputs(self):
        """Dict `"P1"…"P5"` → the last tensor of what is stride 2ⁿ in the network without dilation.

        With `output_stride=32` this is `pyramid_outputs`; with less, it still tells the stages
        apart, whose strides are then equal.

        Example:
            >>> import kdl
            >>> model = kdl.applications.ShuffleNetV2(0.5, include_top=False, output_stride=8,
            ...     input_shape=(64, 64, 3), data_format="channels_last")
            >>> {k: v.shape[1:] for k, v in model.stage_outputs.items() if k > "P2"}
            {'P3': (8, 8, 48), 'P4': (8, 8, 96), 'P5': (8, 8, 1024)}
        """
        return dict(self._stages)

    @property
    def pyramid_level_inputs(self):
        """Dict `"P1"…"P5"` → name of the layer that gives the level: what Keras CV asks for."""
        return {level: x._keras_history.operation.name for level, x in self._pyramid.items()}

    def reference_names(self):
        """Names of this network's layers in other projects, as data.

        Dict: project → templates, a dict of paths of kdl's layers → names of modules there. A
        placeholder such as `{block}` stands for the same number on both sides. Projects whose names
        begin with `"keras"` are `keras.applications` and its files; the others are PyTorch's.
        """
        return {}

    def fit(self, x=None, *args, **kwargs):
        """Trains as `keras.Model.fit` does, and remembers how the data set reads its images.

        What a `kdl.data.ImageFolder` tells (or an `ArrayDataset` with `class_names` and `spec`)
        becomes the model's `kdl.data.ModelInfo`: its input specification if it fits the input, the
        names of its classes if there are as many outputs.
        """
        self._remember(getattr(x, "class_names", None), getattr(x, "spec", None))
        return super().fit(x, *args, **kwargs)

    def load_initial_weights(self, weights, sources=()):
        """Carries out the `weights` argument of an application.

        Args:
            weights: `None`, `"imagenet"`, or the path of a file: `.weights.h5` or `.keras` of kdl,
                `.pth` or `.safetensors` of a PyTorch reference, `.h5` of `keras.applications`.
                Without top, a model takes a file with top as well.
            sources: `WeightSource`s of `"imagenet"`; the first whose padding is the model's counts.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged or of another model, or the name is unknown.
        """
        if weights is None:
            return
        if weights == "imagenet":
            self._load_imagenet(sources)
            return
        path = os.fspath(weights)
        if not os.path.exists(path):
            raise FileNotFoundError(
                f'weights={path!r}: no such file. Expected None, "imagenet" or a path.'
            )
        if path.endswith(_TORCH_FILES):
            load_torch_weights(self, path)
        elif path.endswith((".weights.h5", ".keras")):
            load_own_weights(self, path)
        elif path.endswith(".h5"):
            load_keras_weights(self, path)
        else:
            raise ValueError(
                f"weights={path!r}: expected a file that ends in .weights.h5, .keras, .h5, "
                f"{', '.join(_TORCH_FILES)}."
            )

    def get_config(self):
        """The constructor's arguments; `weights` is None, so that a reload never downloads.

        If layers of the model are frozen (`trainable=False`), their names are there, too.
        """
        config = {**self._arguments, "weights": None, "input_tensor": None, "name": self.name}
        return with_state(self, config)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Builds the model from its arguments."""
        return from_state(cls, config)

    def _load_imagenet(self, sources):
        padding = self._arguments.get("padding", "same")
        fitting = [source for source in sources if source.padding == padding]
        if not fitting:
            others = sorted({f'padding="{source.padding}"' for source in sources})
            raise ValueError(
                f'No public ImageNet weights of {self.name} with padding="{padding}" are known: '
                f"pass {' or '.join([*others, 'another variant'])}, weights=None, or a file."
            )
        if self._arguments["include_top"] and self._arguments["classes"] != 1000:
            raise ValueError(
                f'weights="imagenet" with include_top=True needs classes=1000; received '
                f"classes={self._arguments['classes']}. Use include_top=False and add a head."
            )
        channels = self.inputs[0].shape[channel_axis(self._arguments["data_format"])]
        if channels != 3:
            raise ValueError(
                f'weights="imagenet" needs images of 3 channels; received input_shape='
                f"{tuple(self.inputs[0].shape[1:])}. Repeat a gray channel three times, for "
                f"instance with keras.layers.Concatenate, or pass weights=None."
            )
        path = fitting[0].download()
        if path.endswith(".h5"):
            load_keras_weights(self, path)
        else:
            load_torch_weights(self, path)
        self._remember(None, self._published_spec())

    def _published_spec(self):
        """How published weights want their images; None at an open size."""
        size = tuple(self.inputs[0].shape[1:3])
        if self._arguments["data_format"] != "channels_last" or None in size:
            return None
        choices = inspect.signature(self.preprocess_input).parameters
        chosen = {key: self._arguments[key] for key in choices if key in ("padding", "variant")}
        return input_spec(functools.partial(self.preprocess_input, **chosen), size)

    def _remember(self, class_names, spec):
        """Adds to the model's `ModelInfo` what is given and fits the model."""
        info = get_model_info(self)
        labels, known = info.labels, info.input_spec
        if isinstance(spec, InputSpec) and spec.shape == tuple(self.inputs[0].shape[1:]):
            known = spec
        if class_names and tuple(self.outputs[0].shape[1:]) == (len(class_names),):
            labels = list(class_names)
        set_model_info(self, ModelInfo(labels, known))
