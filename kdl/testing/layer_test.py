"""One call that tests a layer the way kdl tests its own."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kdl.testing import _checks, _gradients, _variants
from kdl.testing.export_test import run_export_test


@dataclass(frozen=True)
class _Case:
    """A layer and its inputs, the same for every step."""

    cls: type
    init_kwargs: dict
    inputs: Any
    call_kwargs: dict
    atol: float

    def create(self, **overrides):
        return self.cls(**{**self.init_kwargs, **overrides})

    def call(self, layer, inputs=None, training=False):
        inputs = self.inputs if inputs is None else inputs
        return _checks.apply(layer, inputs, training=training, **self.call_kwargs)

    def symbols(self, open_batch):
        """Symbolic inputs, of this batch size or of any."""

        def symbol(array):
            batch = None if open_batch else len(array)
            return keras.KerasTensor((batch, *array.shape[1:]), array.dtype.name)

        return keras.tree.map_structure(symbol, self.inputs)


def run_layer_test(
    cls: type[keras.layers.Layer],
    init_kwargs: dict,
    input_shape: Any,
    *,
    input_dtype: str = "float32",
    input_data: Any = None,
    expected_output_shape: Any = None,
    reference: Callable | None = None,
    call_kwargs: dict | None = None,
    zero_gradient: Sequence[str] = (),
    channels_first: bool = True,
    mixed_precision: bool = True,
    deployable: bool = False,
    atol: float = 1e-5,
) -> None:
    """Test a layer: config, shapes, values, gradients, training, precision, saving and export.

    The steps, in order:

    1. The config holds every constructor argument with the value given and nothing else, is JSON,
       and gives an equal layer back, by ``from_config`` and by Keras's serialization.
    2. Neither ``build`` nor ``call`` changes the config; ``build`` makes all weights; a layer
       rebuilt from the config gives the same outputs from the same weights.
    3. Symbolic shapes and dtypes, and ``compute_output_shape``, equal the real ones, with a fixed
       and with a dynamic batch size. A symbolic call builds the layer and all layers within it.
    4. The outputs equal those of `reference`.
    5. ``channels_first`` equals ``channels_last``, if the layer has an argument ``data_format``.
       Skipped where the backend itself cannot run a ``channels_first`` convolution.
    6. One compiled training step runs, under mean squared error.
    7. Gradients of all weights and inputs are finite, those of trainable weights not all zero.
    8. Under ``mixed_bfloat16`` and ``mixed_float16`` the outputs have the compute dtype and stay
       near the float32 ones, and the weights stay as they are. A precision that the backend
       cannot convolve in is skipped.
    9. A ``.keras`` file gives back weights and outputs, equal to the bit.
    10. The layer runs with ``training=True`` and ``training=False``.
    11. If `deployable`, TFLite files in float32 and int8 give the outputs of Keras.

    Python's and NumPy's random state, the dtype policy, ``floatx`` and the data format are left as
    they were. Weights and inputs are the same in every run.

    Args:
        cls: The layer class, registered with ``keras.saving.register_keras_serializable``.
        init_kwargs: Its constructor arguments.
        input_shape: Shape of the input with its batch size, which is at least 2. A list of shapes
            is passed as one list of tensors, a dict as named arguments of ``call``. ``None``
            takes the shapes of `input_data`.
        input_dtype: Dtype of the random inputs: normal floats, or integers that are 0 or 1.
        input_data: Arrays to call the layer with, in place of random ones; float64 is taken as
            float32.
        expected_output_shape: Shape of the outputs, or a structure of shapes.
        reference: ``reference(layer, inputs)`` takes the built layer and NumPy inputs, and
            returns what the layer must give in inference.
        call_kwargs: More arguments of every call.
        zero_gradient: Names, or ends of paths, of trainable weights whose gradient may be zero.
        channels_first: Whether to try the other data format.
        mixed_precision: Whether to try mixed precision.
        deployable: Whether to export; int8 is calibrated on the inputs of this test. Needs
            ``pip install tensorflow ai-edge-litert flatbuffers``.
        atol: Largest difference between values meant to be equal, absolute and relative.

    Raises:
        AssertionError: A step failed. The message names the class, the step and the finding.
        ValueError: The arguments of the test contradict each other.
        ImportError: `deployable` is true, and an exporter is not installed.

    Example:
        >>> import keras
        >>> from kdl.testing import run_layer_test
        >>> run_layer_test(
        ...     keras.layers.Dense,
        ...     {"units": 3},
        ...     (2, 4),
        ...     expected_output_shape=(2, 3),
        ...     reference=lambda layer, x: x @ layer.kernel.numpy(),
        ... )
    """
    with _checks.preserved_state():
        inputs = _inputs(input_shape, input_dtype, input_data)
        case = _Case(cls, init_kwargs, inputs, call_kwargs or {}, atol)

        def step(name):
            return _checks.step(cls.__name__, name)

        with step("config"):
            _checks.check_config(case.create(), init_kwargs, ("name", "trainable", "dtype"))
        with step("build and call"):
            layer = _built(case, expected_output_shape)
        with step("rebuilt from config"):
            _check_rebuilt(case, layer)
        with step("symbolic call"):
            _check_symbolic(case, layer, open_batch=False)
            _check_symbolic(case, layer, open_batch=True)
        if reference is not None:
            with step("reference"):
                outputs = _checks.to_numpy(case.call(layer))
                _checks.check_close(outputs, reference(layer, inputs), atol, "outputs")
        if channels_first and "data_format" in _checks.named_arguments(cls):
            with step("data format"):
                _variants.check_data_format(case, layer)
        with step("all layers built"):
            model = _model(case)
            _checks.check_built(model)
        with step("fit"):
            _checks.check_fit(model, inputs)
        with step("gradient"):
            _check_gradients(case, layer, zero_gradient)
        for policy in _variants.ROUNDING if mixed_precision else ():
            with step(policy):
                _variants.check_mixed_precision(case, layer, policy)
        with step("save and load"):
            _checks.check_reload(model, inputs)
        with step("training argument"):
            for training in (True, False):
                case.call(layer, training=training)
        if deployable:
            run_export_test(model, inputs)


def _inputs(shape, dtype, data):
    if shape is None and data is None:
        raise ValueError("Expected input_shape or input_data, got neither.")
    if data is None:
        data = keras.tree.map_shape_structure(lambda s: _checks.random_array(s, dtype), shape)
    data = keras.tree.map_structure(_checks.single_precision, data)
    shapes = [array.shape for array in keras.tree.flatten(data)]
    if shape is not None and shapes != _flat_shapes(shape):
        raise ValueError(f"input_shape is {shape}, but input_data has the shapes {shapes}.")
    if min(s[0] for s in shapes) < 2:
        raise ValueError(f"Expected a batch of 2 or more, got the input shapes {shapes}.")
    return data


def _flat_shapes(shapes):
    symbols = keras.tree.map_shape_structure(keras.KerasTensor, shapes)
    return [tuple(symbol.shape) for symbol in keras.tree.flatten(symbols)]


def _built(case, expected_shape):
    layer = case.create()
    config = _checks.config_json(layer)
    if isinstance(case.inputs, dict):
        _checks.apply(layer, case.symbols(open_batch=False), **case.call_kwargs)
    else:
        layer.build(keras.tree.map_structure(np.shape, case.inputs))
    _checks.check_same_config(config, _checks.config_json(layer), "build")
    made = [v.path for v in layer.variables]
    outputs = case.call(layer)
    _checks.check_same_config(config, _checks.config_json(layer), "call")
    late = [v.path for v in layer.variables[len(made) :]]
    if late:
        raise AssertionError(f"call made the weights {late}. Make all weights in build().")
    _checks.check_no_nan(outputs, "the output")
    shapes = [tuple(o.shape) for o in keras.tree.flatten(outputs)]
    if expected_shape is not None and shapes != _flat_shapes(expected_shape):
        raise AssertionError(f"expected the output shape {expected_shape}, got {shapes}.")
    return layer


def _check_rebuilt(case, layer):
    copied = case.cls.from_config(json.loads(_checks.config_json(layer)))
    case.call(copied)
    _checks.copy_variables(layer, copied)
    outputs = [_checks.to_numpy(case.call(each)) for each in (copied, layer)]
    _checks.check_close(*outputs, case.atol, "outputs from the same weights")


def _check_symbolic(case, layer, open_batch):
    symbols = case.symbols(open_batch)
    real = keras.tree.flatten(case.call(layer))
    found = keras.tree.flatten(_checks.apply(case.create(), symbols, **case.call_kwargs))
    if len(found) != len(real):
        raise AssertionError(f"{len(found)} symbolic outputs, but {len(real)} real ones.")
    for symbol, tensor in zip(found, real, strict=True):
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if symbol.dtype != dtype:
            raise AssertionError(f"symbolic dtype {symbol.dtype}, real dtype {dtype}.")
    shapes = [tuple(tensor.shape) for tensor in real]
    _check_shapes(case, open_batch, [tuple(s.shape) for s in found], shapes, "symbolic shape")
    try:
        computed = _computed_shapes(layer, symbols)
    except NotImplementedError:
        # Keras then traces `call` for the symbolic shape, which was compared above.
        return
    _check_shapes(case, open_batch, computed, shapes, "compute_output_shape")


def _computed_shapes(layer, symbols):
    shapes = keras.tree.map_structure(lambda s: tuple(s.shape), symbols)
    if isinstance(symbols, dict):
        shapes = {f"{name}_shape": shape for name, shape in shapes.items()}
        return _flat_shapes(layer.compute_output_shape(**shapes))
    return _flat_shapes(layer.compute_output_shape(shapes))


def _check_shapes(case, open_batch, found, real, what):
    batch = len(keras.tree.flatten(case.inputs)[0])
    if open_batch:
        real = [(None, *shape[1:]) if shape[:1] == (batch,) else shape for shape in real]
        what += " with a dynamic batch size"
    if found != real:
        raise AssertionError(f"{what} is {found}, the real shape {real}.")


def _model(case):
    inputs = case.inputs
    if isinstance(inputs, dict):
        symbols = {
            k: keras.Input(a.shape[1:], dtype=a.dtype.name, name=k) for k, a in inputs.items()
        }
    else:
        symbols = keras.tree.map_structure(
            lambda a: keras.Input(a.shape[1:], dtype=a.dtype.name), inputs
        )
    return keras.Model(symbols, _checks.apply(case.create(), symbols, **case.call_kwargs))


def _check_gradients(case, layer, zero_gradient):
    weights = layer.trainable_variables
    outputs = keras.tree.flatten(case.call(layer))
    if not weights and not any(map(_checks.is_float, outputs)):
        return

    def forward(inputs):
        return case.call(layer, inputs, training=True)

    _gradients.check_gradients(forward, weights, case.inputs, zero_gradient)
