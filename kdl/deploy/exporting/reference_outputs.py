"""Outputs of a Keras model, with which those of its file are compared."""

import keras
import numpy as np

from kdl.deploy.exporting.conversion import ExportError, reason_in
from kdl.graph import copy_model

# Of outputs of the same model, computed twice.
_SAME = 1e-3
_SAMPLES = 8


def outputs_of(model, inputs):
    """Outputs of a model's call for all samples, whatever its own `predict` makes of them.

    Args:
        model: A Keras model.
        inputs: Samples as it takes them.

    Raises:
        ExportError: If the model cannot be run.
    """
    batch_size, name = model.inputs[0].shape[0], model.name
    if not _predicts_its_outputs(model):
        model = _Outputs(model)
    try:
        if batch_size is None:
            return model.predict(inputs, batch_size=32, verbose=0)
        return _predict_in_whole_batches(model, inputs, batch_size)
    except MemoryError:
        raise
    except Exception as error:  # of whatever kind Keras and the backend raise
        raise ExportError(
            f"{name} itself does not run with {keras.backend.backend()} here, so that there is "
            f"nothing to compare a file with ({type(error).__name__}): {_first(error)}"
        ) from error


def check_copy(model, inputs):
    """Raises ExportError unless a copy of a model gives its outputs.

    The float32 network of a model in another precision is such a copy, as is the network of a
    pruned or distilled one, and the file is compared with it: what the copy lost would be lost on
    both sides.

    Args:
        model: A Keras model.
        inputs: Samples as it takes them; a few are enough.

    Raises:
        ExportError: If the outputs differ; the message says what to do.
    """
    few = keras.tree.map_structure(lambda x: x[:_SAMPLES], inputs)
    ours, theirs = (
        [np.asarray(x).astype("float64") for x in keras.tree.flatten(outputs_of(m, few))]
        for m in (model, copy_model(model))
    )
    for one, other in zip(ours, theirs, strict=True):
        spread = np.ptp(one[np.isfinite(one)]) if np.isfinite(one).any() else 0.0
        if not np.allclose(one, other, rtol=_SAME, atol=_SAME * spread, equal_nan=True):
            raise ExportError(
                f"A copy of {model.name} gives other outputs, and the network that a file holds is "
                f"a copy where a model is pruned, distilled or not in float32. A layer computes "
                f"with something that is neither a weight nor in its config: let get_config return "
                f"it, or keep it as a weight. No file is proven by it."
            )


def _first(error):
    """The first words of an error of Keras or a backend, which may be pages long."""
    return f"{reason_in(str(error))[:300].rstrip(' .')}."


def _predict_in_whole_batches(model, inputs, batch_size):
    """Outputs of a model that takes batches of one size: the last one is filled up."""
    samples = len(keras.tree.flatten(inputs)[0])
    places = np.arange(-(-samples // batch_size) * batch_size).clip(max=samples - 1)
    filled = keras.tree.map_structure(lambda x: x[places], inputs)
    outputs = model.predict(filled, batch_size=batch_size, verbose=0)
    return keras.tree.map_structure(lambda y: y[:samples], outputs)


def _predicts_its_outputs(model):
    """Tell if `predict` is Keras's own: that of a detector of others decodes boxes, say."""
    methods = ("predict", "predict_step", "make_predict_function")
    return all(getattr(type(model), name) is getattr(keras.Model, name) for name in methods)


class _Outputs(keras.Model):
    """Outputs of a model's call, as its file gives them, whatever its `predict` makes of them."""

    def __init__(self, model):
        super().__init__(name="outputs", dtype="float32")
        self.model = model

    def call(self, inputs):
        return self.model(inputs, training=False)
