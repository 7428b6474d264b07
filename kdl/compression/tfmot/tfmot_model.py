"""Wrapper of a model that TensorFlow Model Optimization trains."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kdl._checks import check_integer
from kdl.compression.tfmot._arrays import grouped, named, numbered
from kdl.compression.tfmot._description import describe
from kdl.compression.tfmot._process import run_job
from kdl.compression.tfmot._progress import Progress
from kdl.compression.tfmot._training import as_job, learning_rates
from kdl.data._input_form import fitted, form_of_model
from kdl.data.reading import inputs_for_predict, samples_of_model
from kdl.graph import copy_model
from kdl.graph.copy_weights import set_weights
from kdl.graph.inline import inline
from kdl.graph.read_graph import ends, read_graph

# Inputs on which Keras 3 and tf_keras must agree before anything is trained.
_PROOF_SAMPLES = 16


class TFMOTModel:
    """A Keras 3 model that TensorFlow Model Optimization quantizes, prunes or clusters.

    `quantize`, `prune` and `cluster` make it. The Keras 3 model may be of any backend. For `fit` it
    is rebuilt, layer by layer, in tf_keras in a TensorFlow process of its own, proven there to give
    the outputs of the Keras 3 model (within 1e-4 of their spread), wrapped by TF-MOT and trained.
    All state comes back, so that `fit` may be called again. `strip` gives the Keras 3 model with
    the new weights, `kdl.deploy.export_tflite(wrapped, path, "int8")` the file of a quantized one.

    Attributes:
        model: The Keras 3 model that was wrapped, with its weights of then; a copy.
        method: `"quantize"`, `"prune"` or `"cluster"`.
    """

    def __init__(
        self, model: keras.Model, settings: dict[str, Any], layers: Sequence[str] | None = None
    ) -> None:
        self._description = describe(model, settings["kind"] == "quantize")
        chosen = self._description.with_kernel(layers, frozen=settings["kind"] != "cluster")
        self._settings = {**settings, "layers": chosen}
        self.model = copy_model(model)
        self._state = []  # arrays of the wrapped model in tf_keras
        self._weights = self._description.weights
        self.method = settings["kind"]

    def fit(
        self,
        x: Any,
        y: Any = None,
        epochs: int = 1,
        batch_size: int = 32,
        *,
        loss: str | keras.losses.Loss,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        metrics: Sequence[str] = (),
        validation_data: Any = None,
        seed: int | None = None,
        verbose: int | str = "auto",
    ) -> dict[str, list[float]]:
        """Trains the wrapped model in its TensorFlow process.

        Args:
            x: Inputs as an array, or a list or dict of arrays where the model has several; or a
                data set of inputs and labels, as `kdl.data.read_samples` takes them, which is read
                whole and not augmented.
            y: Targets, likewise for several outputs; None (default) for a data set, which has them.
            epochs: Number of epochs. Defaults to 1.
            batch_size: Defaults to 32.
            loss: Name of a Keras loss, or one of `keras.losses`.
            optimizer: Name of a Keras optimizer, or one of `keras.optimizers`; its learning rate
                may be a schedule. Defaults to `"adam"`.
            metrics: Names of Keras metrics, such as `("accuracy",)`.
            validation_data: Pair `(x, y)`, a data set, or None.
            seed: Integer for equal results, or None.
            verbose: 0 (nothing), 1 (a bar), 2 (a line an epoch) or `"auto"` (1).

        Returns:
            Dict: name of a loss or metric → its values, one an epoch.

        Raises:
            ValueError: If the data does not fit, tf_keras has no such loss or optimizer, its model
                gives other outputs than the Keras 3 model, or TF-MOT does not support something.
            ImportError: If TensorFlow or TensorFlow Model Optimization is missing.
            RuntimeError: If the process was ended.
        """
        epochs = check_integer("epochs", epochs)
        batch_size = check_integer("batch_size", batch_size)
        x, y = self._pair(x, y, "x")
        inputs, targets = self._inputs(x), _arrays(y)
        _check_lengths(inputs, targets)
        arrays = {**named("x", inputs), **named("y", targets)}
        if validation_data is not None:
            pair = isinstance(validation_data, tuple | list) and len(validation_data) == 2
            x, y = validation_data if pair else (validation_data, None)
            x, y = self._pair(x, y, "validation_data")
            more, more_targets = self._inputs(x), _arrays(y)
            _check_lengths(more, more_targets)
            arrays.update({**named("x_validation", more), **named("y_validation", more_targets)})
        rates = learning_rates(optimizer, epochs * -(-len(inputs[0]) // batch_size))
        if rates is not None:
            arrays["rates"] = rates
        job = {"epochs": epochs, "batch_size": batch_size, "metrics": list(metrics)}
        job.update(as_job(loss, optimizer))
        progress = Progress(verbose)
        results = self._run("fit", job, arrays, inputs, progress.see, seed)
        self._state = numbered(results, "state")
        self._weights = grouped(results, "weight")
        return progress.history

    def predict(self, x: Any) -> np.ndarray | list[np.ndarray]:
        """Outputs of the wrapped model: of a quantized one, with its quantization.

        Args:
            x: Inputs, as for `fit`; labels are not used.

        Returns:
            An array, or a list of them where the model has several outputs.

        Raises:
            ValueError: If the data does not fit, or a quantized model was never trained.
        """
        self._check_ranges()
        inputs = self._inputs(inputs_for_predict(x, self.model, convert=True))
        results = self._run("predict", {}, named("x", inputs), inputs)
        outputs = numbered(results, "output")
        return outputs if len(outputs) > 1 else outputs[0]

    def convert(
        self, x: Any, shapes: dict[str, tuple[int, ...]], output_names: Sequence[str]
    ) -> tuple[bytes, list[np.ndarray]]:
        """The int8 `.tflite` file of a quantized model, and its outputs to compare with.

        `kdl.deploy.export_tflite` is what proves and writes the file; this is a part of it.

        Args:
            x: Inputs, as for `fit`.
            shapes: Dict: name of an input in the file → its static shape, batch included; in the
                order of the model's inputs.
            output_names: Names of the outputs.

        Returns:
            Pair of the file's bytes and a list of the wrapped model's outputs for `x`.

        Raises:
            ValueError: If the model is not quantized or was never trained.
        """
        if self.method != "quantize":
            raise ValueError(f"Only a quantized model has an int8 file; this one: {self.method}.")
        self._check_ranges()
        inputs = self._inputs(x)
        job = {"inputs": list(shapes.items()), "output_names": list(output_names)}
        results = self._run("convert", job, named("x", inputs), inputs)
        return results["tflite"].tobytes(), numbered(results, "output")

    def _pair(self, x, y, argument):
        """`(x, y)`, out of a data set if there is no `y`."""
        if y is not None:
            return x, y
        if _has_weights(x):
            raise ValueError(
                f"{argument} holds weights of samples, which TF-MOT's training does not take here: "
                f"pass inputs and targets alone."
            )
        samples = samples_of_model(x, self.model, argument=argument)
        if samples.labels is None:
            raise ValueError(f"{argument} has no targets: pass y, or a data set that has them.")
        return samples.inputs, samples.labels

    def _check_ranges(self):
        if self.method == "quantize" and not self._state:
            raise ValueError("The model has no ranges yet: call fit, which measures them, first.")

    def _run(self, task, job, arrays, inputs, see=lambda event: None, seed=None):
        samples = [x[:_PROOF_SAMPLES] for x in inputs]
        structure = keras.tree.pack_sequence_as(ends(self.model)[0], samples)
        outputs = self.model.predict(structure, batch_size=_PROOF_SAMPLES, verbose=0)
        expected = keras.tree.flatten(outputs)
        job.update(task=task, seed=seed, method=self._settings, graph=self._description.graph)
        arrays = {
            **arrays,
            **named("sample", samples),
            **named("expected", expected),
            **named("state", self._state),
        }
        for name, values in self._description.weights.items():
            arrays.update(named(f"weight/{name}", values))
        return run_job(job, arrays, see)

    def _inputs(self, x):
        """Arrays for the model's inputs, in float32."""
        given = fitted(form_of_model(self.model), x)
        arrays = [np.asarray(a, "float32") for a in _arrays(x if given is None else given)]
        expected = [tuple(i.shape[1:]) for i in self.model.inputs]
        shapes = [a.shape[1:] for a in arrays]
        fits = len(shapes) == len(expected) and all(
            len(a) == len(b) and all(n in (None, m) for m, n in zip(a, b, strict=True))
            for a, b in zip(shapes, expected, strict=True)
        )
        if not fits or not all(len(a) for a in arrays):
            raise ValueError(
                f"x must have shape {_shapes(expected)}, with at least one sample; received "
                f"{', '.join(str(a.shape) for a in arrays)}."
            )
        for a in arrays:
            if not np.isfinite(a).all():
                raise ValueError("x holds values that are not finite (NaN or infinite).")
        return arrays

    def network(self) -> keras.Model:
        """A Keras 3 model with the weights of now, a copy: training goes on in another process."""
        return self.stripped()

    def stripped(self) -> keras.Model:
        """See `kdl.compression.tfmot.strip`."""
        model = copy_model(self.model)
        places = {x.name: x.operation for x in inline(read_graph(model)).nodes}
        origin = self._description.origin
        found = {origin[name]: self._weights[name] for name in origin}
        for name, layer in places.items():
            parts = [name] if name in found else [f"{name}_depthwise", f"{name}_pointwise"]
            if parts[0] in found:
                set_weights(layer, [a for part in parts for a in found[part]])
        return model


def _arrays(x):
    return [np.asarray(keras.ops.convert_to_numpy(a)) for a in keras.tree.flatten(x)]


def _has_weights(data):
    """Tell if data gives `(x, y, weights)`, as far as its first batch can be seen beforehand."""
    first = data
    if hasattr(data, "element_spec"):  # of `tf.data`
        first = data.element_spec
    elif hasattr(data, "unaugmented") or hasattr(data, "__next__"):
        return False
    elif isinstance(data, list | keras.utils.PyDataset):
        first = data[0] if len(data) else None
    elif not isinstance(data, tuple) and hasattr(data, "__iter__"):
        first = next(iter(data), None)
    return isinstance(first, tuple | list) and len(first) == 3


def _check_lengths(inputs, targets):
    lengths = {len(a) for a in [*inputs, *targets]}
    if len(lengths) > 1:
        raise ValueError(f"Inputs and targets differ in length: {sorted(lengths)}.")


def _shapes(shapes):
    return ", ".join(f"(samples, {', '.join(map(str, shape))})" for shape in shapes)
