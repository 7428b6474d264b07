"""A Keras model with the interface of `TFLiteRunner`. Imports no Keras: the model has done so."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdl.data._arrays import whole_numbers
from kdl.data.model_info import ModelInfo, get_model_info


class KerasRunner:
    """A functional or Sequential Keras model, run on arrays.

    Args:
        model: The model.

    Raises:
        ValueError: If it is none, or its outputs are nested.
    """

    def __init__(self, model: Any) -> None:
        if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
            raise ValueError(
                f"Expected the path of a .tflite file, or a built functional or Sequential "
                f"keras.Model; received {type(model).__name__}."
            )
        from kdl.graph.read_graph import ends, names_in_list

        self._model = model
        self.path = model.name
        outputs = ends(model)[1]
        self._names = names_in_list(outputs)
        self._outputs = self._named(outputs)
        if any(isinstance(output, dict | list | tuple) for output in self._outputs.values()):
            raise ValueError(
                f"Expected one output of {model.name}, or a list or dict of them; its outputs are "
                f"nested. Wrap it: keras.Model(model.inputs, the output that is meant)."
            )

    @property
    def info(self) -> ModelInfo:
        """The `ModelInfo` that the model remembers."""
        return get_model_info(self._model)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs."""
        return [x.name for x in self._model.inputs]

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the first input, batch included; None where it is dynamic."""
        return tuple(self._model.inputs[0].shape)

    @property
    def output_names(self) -> list[str]:
        """Keys of the outputs, or the names of the layers that give them in a list."""
        return list(self._outputs)

    @property
    def output_shapes(self) -> list[tuple[int | None, ...]]:
        """Shapes of the outputs, batch included; None where a size is dynamic."""
        return [tuple(x.shape) for x in self._outputs.values()]

    @property
    def output_dtypes(self) -> list[np.dtype]:
        """Dtypes of what `predict` gives: float32 of all floating-point numbers."""
        dtypes = [str(x.dtype) for x in self._outputs.values()]
        return [np.dtype("float32" if "float" in dtype else dtype) for dtype in dtypes]

    def predict(self, inputs: np.ndarray, places: Sequence[int] | None = None) -> list[np.ndarray]:
        """Outputs for `inputs` in the order of `output_names`.

        Args:
            inputs: Array `(samples, …)`.
            places: Places of the outputs to give, among `output_names`. Defaults to all.

        Raises:
            ValueError: If the model takes integers and these are none.
        """
        dtype = str(self._model.inputs[0].dtype)
        if "int" in dtype:
            inputs = whole_numbers(inputs, f"The input of {self.path}", dtype, resized=True)
        outputs = self._named(self._model.predict(inputs, verbose=0))
        names, dtypes = self.output_names, self.output_dtypes
        chosen = places or range(len(names))
        return [np.asarray(outputs[names[i]]).astype(dtypes[i], copy=False) for i in chosen]

    def _named(self, outputs):
        """Dict: name → output, of one output, or a list or dict of them."""
        if isinstance(outputs, dict):
            return {str(name): output for name, output in outputs.items()}
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(self._names or map(str, range(len(outputs))), outputs, strict=True))
