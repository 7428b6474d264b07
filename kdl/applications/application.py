"""Base class of the image classifiers: common arguments, serialization, weights, pyramid."""

import os
from collections.abc import Sequence
from typing import Any

import keras

from kdl._compat import operation_of
from kdl._typing import Path, Tensor
from kdl.applications._common import CommonArguments, StrideTracker
from kdl.applications.model_state import from_state, with_state
from kdl.applications.weights.convert import load_keras_weights, load_torch_weights
from kdl.applications.weights.own_file import load_own_weights
from kdl.applications.weights.source import WeightSource
from kdl.data.model_info import learn_model_info
from kdl.ops.channels import channel_axis

_TORCH_FILES = (".pth", ".pt", ".bin", ".safetensors")


class Application(keras.Model):
    """Base of the image classifiers: a functional model that knows its own arguments.

    Every family takes, after its own arguments, those of `keras.applications`:

    - `include_top`: True (default) for a network with its classifier.
    - `weights`: None (default), `"imagenet"` where weights are published, or the path of a file;
      the family says which.
    - `input_tensor`: A `keras.Input` to build on; None (default) for a new one.
    - `input_shape`: Shape without batch. Defaults to the native size of the network, mostly
      `(224, 224, 3)`, and to `(None, None, 3)` without top; with `"channels_first"` channels are
      first.
    - `pooling`: Without top: None (default) for the last feature map, `"avg"` or `"max"` for its
      global average or maximum.
    - `classes`: Number of classes. Defaults to 1000.
    - `classifier_activation`: Activation of the classifier, `"softmax"` by default; None gives
      logits.
    - `dtype`: Dtype policy of the layers; the global one by default. The classifier computes in
      float32 in any case.
    - `data_format`: `"channels_last"` or `"channels_first"`; Keras's image data format by default.
    - `name`: Name of the model; by default it tells the variant.

    A family builds its graph and hands over here what its constructor was given, which becomes
    `get_config`, so that a model is saved as its arguments and weights.

    `kdl.graph.copy_model` gives a copy of the same class with its weights;
    `keras.models.clone_model` gives a functional model of the same layers, without
    `pyramid_outputs` and the other attributes here. A file of a model is read by
    `keras.models.load_model` in a program that has imported kdl.

    Args:
        own: The family's own arguments, as plain data.
        common: The `CommonArguments`, whose input the graph begins with.
        strides: The network's `StrideTracker`, which has recorded the tensors of its pyramid.
        outputs: Output tensor of the graph, or a list of them.
        default_name: Name of the model where the arguments give none.
        sources: `WeightSource`s of `weights="imagenet"`.

    Example:
        >>> import kdl
        >>> model = kdl.applications.MobileNet(0.25, include_top=False, pooling="avg")
        >>> isinstance(model, Application), model.output_shape
        (True, (None, 256))
    """

    def __init__(
        self,
        own: dict,
        common: CommonArguments,
        strides: StrideTracker,
        outputs: Tensor | list,
        default_name: str,
        sources: Sequence[WeightSource] = (),
    ) -> None:
        name = common.name or default_name
        super().__init__(inputs=common.input_tensor, outputs=outputs, name=name)
        self._pyramid = dict(strides.pyramid)
        self._stages = dict(strides.stages)
        self._arguments = {**own, **common.config()}
        self.load_initial_weights(common.weights, sources)

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """Dict `"P1"…"P5"` → the last tensor of stride 2ⁿ: inputs of a feature pyramid.

        Example:
            >>> import keras, kdl
            >>> model = kdl.applications.ShuffleNetV2(0.5, include_top=False)
            >>> features = keras.Model(model.inputs, model.pyramid_outputs)
            >>> {k: v.shape[-1] for k, v in features.output.items()}
            {'P1': 24, 'P2': 24, 'P3': 48, 'P4': 96, 'P5': 1024}
        """
        return dict(self._pyramid)

    @property
    def stage_outputs(self) -> dict[str, keras.KerasTensor]:
        """Dict `"P1"…"P5"` → the last tensor of stride 2ⁿ in the network without dilation.

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
    def pyramid_level_inputs(self) -> dict[str, str]:
        """Dict `"P1"…"P5"` → name of the layer that gives the level, for KerasCV."""
        return {level: operation_of(x).name for level, x in self._pyramid.items()}

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of this network's layers in other projects, as data.

        Dict: project → templates, a dict of paths of kdl's layers → names of modules there. A
        placeholder such as `{block}` stands for the same number on both sides. Projects whose names
        begin with `"keras"` are `keras.applications` and its files; the others are PyTorch's.
        """
        return {}

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as `keras.Model.fit` does, and remember how the data set reads its images.

        What a `kdl.data.ImageFolder` knows (or an `ArrayDataset` with `class_names` and `spec`)
        becomes the model's `kdl.data.ModelInfo`: its input specification if it fits the input, the
        names of its classes if there are as many outputs.
        """
        learn_model_info(self, getattr(x, "class_names", None), getattr(x, "spec", None))
        return super().fit(x, *args, **kwargs)

    def load_initial_weights(
        self, weights: Path | None, sources: Sequence[WeightSource] = ()
    ) -> None:
        """Carry out the `weights` argument of an application.

        Published weights bring their preprocessing along, as the input specification in the model's
        `kdl.data.ModelInfo`: those of `"imagenet"`, and a file that is one of `sources`.

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
            source = self._fitting_source(sources)
            path = source.download()
        else:
            path = os.fspath(weights)
            if not os.path.exists(path):
                raise FileNotFoundError(
                    f'weights={path!r}: no such file. Expected None, "imagenet" or a path.'
                )
            source = next((source for source in sources if source.is_file(path)), None)
        self._check_padding(source)
        self._load_file(path)
        if source is not None:
            learn_model_info(self, None, self._published_spec(source))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; `weights` is None, so that a reload never downloads.

        If layers of the model are frozen (`trainable=False`), their names are there, too.
        """
        return with_state(self, {**self._arguments, "name": self.name})

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "Application":
        """Build the model from its arguments."""
        return from_state(cls, config)

    def _load_file(self, path):
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

    def _check_padding(self, source):
        padding = self._arguments.get("padding", "same")
        if source is not None and source.padding != padding:
            raise ValueError(
                f"{source.name} holds weights of {self.name} with padding={source.padding!r}; this "
                f"one has padding={padding!r}, with which their outputs are others."
            )

    def _fitting_source(self, sources):
        """First of the published weights with the model's padding; ValueError if none fits."""
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
        return fitting[0]

    def _published_spec(self, source):
        """Input specification of published weights at the model's size; None if it is dynamic."""
        size = tuple(self.inputs[0].shape[1:3])
        if self._arguments["data_format"] != "channels_last" or None in size:
            return None
        return source.input_spec(size)
