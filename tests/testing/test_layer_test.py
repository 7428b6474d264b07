import ast
import random
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest
from keras import layers, ops

import kdl.testing
from kdl.testing import _variants, run_layer_test

IMAGES = (2, 4, 4, 3)
COMPILED = keras.backend.backend() != "torch"
register = keras.saving.register_keras_serializable("kdl_layer_tests")


@register
class Affine(layers.Layer):
    """A layer without a fault: ``factor * gain * x + shift`` by channel."""

    def __init__(self, factor=2.0, data_format="channels_last", **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self.data_format = data_format

    def build(self, input_shape):
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        self.gain = self.add_weight(shape=(channels,), initializer="uniform", name="gain")
        self.shift = self.add_weight(shape=(channels,), initializer="zeros", name="shift")

    def by_channel(self, weight):
        return weight if self.data_format == "channels_last" else ops.reshape(weight, (-1, 1, 1))

    def call(self, inputs):
        return self.factor * self.by_channel(self.gain) * inputs + self.by_channel(self.shift)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "factor": self.factor,
            "data_format": self.data_format,
        }


def affine_reference(layer, x):
    gain, shift = (ops.convert_to_numpy(w) for w in layer.weights)
    return 2.0 * gain * x + shift


def fails(cls, match, init_kwargs=None, shape=IMAGES, **options):
    with pytest.raises(AssertionError, match=match) as caught:
        run_layer_test(cls, init_kwargs or {}, shape, **options)
    assert str(caught.value).startswith(cls.__name__)


# --- layers that pass ---------------------------------------------------------------------------


@pytest.mark.every_backend
def test_a_faultless_layer_passes():
    run_layer_test(Affine, {}, IMAGES, expected_output_shape=IMAGES, reference=affine_reference)


@pytest.mark.parametrize(
    ("cls", "init_kwargs", "shape"),
    [
        (layers.Dense, {"units": 3, "activation": "relu"}, (2, 4)),
        (layers.Conv2D, {"filters": 3, "kernel_size": 3, "padding": "same"}, IMAGES),
        (layers.Conv2D, {"filters": 4, "kernel_size": 3, "groups": 2}, (2, 5, 6, 4)),
        (layers.DepthwiseConv2D, {"kernel_size": 3, "strides": 2}, IMAGES),
        (layers.BatchNormalization, {"momentum": 0.9}, IMAGES),
        (layers.LayerNormalization, {"axis": [-1]}, IMAGES),
        (layers.MaxPooling2D, {}, IMAGES),
        (layers.GlobalAveragePooling2D, {"keepdims": True}, IMAGES),
        (layers.Dropout, {"rate": 0.5}, (2, 8)),
    ],
)
def test_keras_layers_pass(cls, init_kwargs, shape):
    run_layer_test(cls, init_kwargs, shape)


def test_a_data_format_of_channels_first_is_turned_to_channels_last():
    run_layer_test(layers.MaxPooling2D, {"data_format": "channels_first"}, (2, 3, 4, 6))


def test_a_list_of_shapes_is_passed_as_one_list():
    run_layer_test(layers.Add, {}, [(2, 3), (2, 3)], reference=lambda layer, x: x[0] + x[1])


@register
class Mix(layers.Layer):
    def build(self, left_shape, right_shape):
        self.share = self.add_weight(shape=(), initializer="ones", name="share")

    def call(self, left, right):
        return {"sum": left + self.share * right, "left": left}

    def get_config(self):
        return super().get_config()


def test_a_dict_of_shapes_is_passed_by_name():
    run_layer_test(
        Mix,
        {},
        {"left": (2, 3), "right": (2, 3)},
        expected_output_shape={"sum": (2, 3), "left": (2, 3)},
        reference=lambda layer, x: {"sum": x["left"] + x["right"], "left": x["left"]},
    )


def test_input_data_and_integers():
    tokens = np.array([[0, 1, 2], [2, 1, 0]], "int32")
    run_layer_test(layers.Embedding, {"input_dim": 3, "output_dim": 2}, None, input_data=tokens)


def test_double_precision_is_taken_as_single():
    def reference(layer, x):
        assert x.dtype == "float32"
        return affine_reference(layer, x)

    data = np.linspace(-1.0, 1.0, 12).reshape(2, 2, 1, 3)
    run_layer_test(Affine, {}, None, input_data=data, reference=reference)


def test_a_layer_without_float_outputs_passes():
    run_layer_test(Argmax, {}, (2, 3), expected_output_shape=(2,))


@register
class Argmax(layers.Layer):
    def call(self, inputs):
        return ops.cast(ops.argmax(inputs, axis=-1), "int32")

    def get_config(self):
        return super().get_config()


@register
class RaisesInTraining(Argmax):
    def call(self, inputs, training=False):
        if training:
            raise NotImplementedError("inference only")
        return super().call(inputs)


def test_a_layer_that_cannot_train_is_caught():
    fails(RaisesInTraining, "(?s)training argument: NotImplementedError: .*inference only")


@register
class IntegerAffine(Affine):
    def call(self, inputs):
        return ops.cast(super().call(inputs), "int32")

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "int32")


def test_weights_behind_an_integer_output_are_caught():
    # Only JAX trains without a gradient and does not mind.
    jax = keras.backend.backend() == "jax"
    fails(IntegerAffine, "gradient: no output is a float tensor" if jax else "fit: ")


@register
class Seeded(layers.Layer):
    """Random also in inference, by a seed that is part of its state."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator()

    def call(self, inputs):
        noise = keras.random.normal(ops.shape(inputs), seed=self.seed, dtype="float32")
        return inputs + ops.cast(noise, inputs.dtype)

    def get_config(self):
        return super().get_config()


def test_random_layers_are_compared_from_the_same_seed():
    run_layer_test(Seeded, {}, (2, 3), mixed_precision=False)


def test_call_kwargs_reach_every_call():
    class Recorder(Affine):
        calls: ClassVar = []

        def call(self, inputs, power=1):
            self.calls.append(power)
            return super().call(inputs**power)

    keras.saving.register_keras_serializable("kdl_layer_tests")(Recorder)
    run_layer_test(Recorder, {}, IMAGES, call_kwargs={"power": 2})
    assert {*Recorder.calls} == {2}


# --- config -------------------------------------------------------------------------------------


@register
class MissingArgument(Affine):
    def get_config(self):
        config = super().get_config()
        del config["factor"]
        return config

    def __init__(self, factor=2.0, data_format="channels_last", **kwargs):
        super().__init__(factor, data_format, **kwargs)


@register
class ExtraKey(Affine):
    def get_config(self):
        return {**super().get_config(), "channels": 3}

    @classmethod
    def from_config(cls, config):
        config.pop("channels")
        return cls(**config)


@register
class WithoutBaseConfig(Affine):
    def get_config(self):
        return {"factor": self.factor, "data_format": self.data_format}


@register
class WrongValue(Affine):
    def get_config(self):
        return {**super().get_config(), "factor": 2.0}


@register
class ObjectInConfig(Affine):
    def get_config(self):
        return {**super().get_config(), "factor": np.float32(2.0)}


@register
class DriftInFromConfig(Affine):
    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "factor": config["factor"] + 1.0})


@register
class DriftInBuild(Affine):
    def build(self, input_shape):
        super().build(input_shape)
        self.factor = float(input_shape[-1])


@register
class DriftInCall(Affine):
    def call(self, inputs):
        outputs = super().call(inputs)
        self.factor = self.factor + 1.0
        return outputs


class Unregistered(Affine):
    pass


@register
class HiddenSetting(Affine):
    made = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        type(self).made += 1
        self.offset = float(self.made)

    def call(self, inputs):
        return super().call(inputs) + self.offset


@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (MissingArgument, r"config: get_config lacks \['factor'\]"),
        (ExtraKey, r"config: get_config holds \['channels'\]"),
        (WithoutBaseConfig, r"config: get_config lacks \['dtype', 'name', 'trainable'\]"),
        (ObjectInConfig, "config: get_config is not JSON"),
        (DriftInFromConfig, "config: from_config changed the config: 'factor' from 2.0 to 3.0"),
        (DriftInBuild, "build changed the config: 'factor' from 2.0 to 3.0"),
        (DriftInCall, "call changed the config: 'factor' from 2.0 to 3.0"),
        (Unregistered, "config: TypeError: Could not locate class 'Unregistered'"),
        (HiddenSetting, "rebuilt from config: outputs from the same weights: values differ"),
    ],
)
def test_config_faults_are_caught(cls, match):
    fails(cls, match)


def test_a_config_that_forgets_the_given_value_is_caught():
    run_layer_test(WrongValue, {"factor": 2.0}, IMAGES, reference=affine_reference)
    fails(WrongValue, "get_config gives factor=2.0, not 3.0", {"factor": 3.0})


def test_a_config_that_swaps_numbers_of_a_pair_is_caught():
    @register
    class Swapped(layers.ZeroPadding2D):
        def get_config(self):
            return {**super().get_config(), "padding": (2, 1)}

    fails(Swapped, r"get_config gives padding=\[2, 1\], not \(1, 2\)", {"padding": (1, 2)})


def test_a_class_registered_under_the_name_of_another_is_caught():
    tested = register(type("Twice", (Affine,), {}))
    register(type("Twice", (Affine,), {}))
    fails(tested, "config: serialization gave back another class, .*Twice")


def test_keras_layer_normalization_is_known_to_change_its_config_in_build():
    fails(layers.LayerNormalization, r"build changed the config: 'axis' from -1 to \[-1\]")


# --- build, shapes and values -------------------------------------------------------------------


@register
class WeightsInCall(Affine):
    def call(self, inputs):
        if not hasattr(self, "late"):
            self._tracker.unlock()
            self.late = self.add_weight(shape=(3,), name="late")
            self._tracker.lock()
        return super().call(inputs) + self.late


@register
class WrongShape(Affine):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + 1)


@register
class FixedBatch(Affine):
    def compute_output_shape(self, input_shape):
        return (2, *input_shape[1:])


@register
class WrongShapeMethod(Affine):
    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[:-1]


@register
class WrongDtype(Affine):
    def call(self, inputs):
        return ops.cast(super().call(inputs), "int32")


@register
class WrongCount(Affine):
    def compute_output_shape(self, input_shape):
        return [input_shape, input_shape]


@register
class NanOutput(Affine):
    def call(self, inputs):
        return super().call(inputs) * float("nan")


@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (WeightsInCall, r"call made the weights \['weights_in_call\w*/late'\]"),
        (WrongShape, r"symbolic call: symbolic shape is \[\(2, 4, 4, 4\)\], the real shape"),
        (FixedBatch, r"symbolic shape with a dynamic batch size is \[\(2, 4, 4, 3\)\]"),
        (WrongShapeMethod, r"compute_output_shape is \[\(2, 4, 4\)\], the real shape"),
        (WrongDtype, "symbolic dtype float32, real dtype int32"),
        (WrongCount, "2 symbolic outputs, but 1 real ones"),
        (NanOutput, "build and call: the output holds NaN"),
    ],
)
def test_shape_faults_are_caught(cls, match):
    fails(cls, match)


def test_a_wrong_expected_shape_is_caught():
    fails(Affine, r"expected the output shape \(2, 4, 4, 4\)", expected_output_shape=(2, 4, 4, 4))


def test_a_reference_that_disagrees_is_caught():
    fails(Affine, "reference: outputs: values differ", reference=lambda layer, x: 3.0 * x)
    fails(
        Affine,
        r"reference: outputs: expected shape \(2, 4, 4, 1\)",
        reference=lambda layer, x: affine_reference(layer, x)[..., :1],
    )


def test_a_reference_with_other_outputs_is_caught():
    fails(Affine, "expected 2 tensors, got 1", reference=lambda layer, x: [x, x])


def test_the_tolerance_decides():
    def near(layer, x):
        return affine_reference(layer, x) + 1e-3

    run_layer_test(Affine, {}, IMAGES, reference=near, atol=1e-2)
    fails(Affine, "values differ by up to 0.001, allowed 1e-05", reference=near)


# --- data format --------------------------------------------------------------------------------


@register
class IgnoresDataFormat(Affine):
    def by_channel(self, weight):
        return weight


@register
class NoChannelsFirst(Affine):
    def call(self, inputs):
        if self.data_format == "channels_first":
            raise NotImplementedError("only channels_last")
        return super().call(inputs)


@register
class OtherWeights(Affine):
    def build(self, input_shape):
        super().build(input_shape)
        if self.data_format == "channels_first":
            self.more = self.add_weight(shape=(3,), name="more")


def test_a_difference_between_data_formats_is_caught():
    fails(IgnoresDataFormat, "data format: outputs in channels_first: values", shape=(2, 3, 3, 3))
    fails(OtherWeights, "data format: expected variables of shapes")


@pytest.mark.every_backend
def test_a_data_format_that_cannot_run_is_skipped_only_if_the_backend_cannot(monkeypatch):
    monkeypatch.setattr(_variants, "_runs_convolution", lambda **_: True)
    fails(NoChannelsFirst, "(?s)data format: NotImplementedError: .*only channels_last")
    run_layer_test(NoChannelsFirst, {}, IMAGES, channels_first=False)
    monkeypatch.setattr(_variants, "_runs_convolution", lambda data_format: False)
    run_layer_test(NoChannelsFirst, {}, IMAGES, mixed_precision=False)


# --- training -----------------------------------------------------------------------------------


@register
class BranchOnValues(Affine):
    def call(self, inputs):
        outputs = super().call(inputs)
        return outputs if float(ops.max(inputs)) > -1e9 else -outputs


@register
class NanInTraining(Affine):
    def call(self, inputs, training=False):
        outputs = super().call(inputs)
        return outputs * float("nan") if training else outputs


@register
class Unused(Affine):
    def call(self, inputs):
        return self.factor * self.by_channel(self.gain) * inputs


@register
class Stopped(Affine):
    def call(self, inputs):
        gain = ops.stop_gradient(super().by_channel(self.gain))
        return self.factor * gain * inputs + super().by_channel(self.shift)


@register
class NanGradient(Affine):
    def call(self, inputs):
        return super().call(inputs) + ops.sqrt(0.0 * super().by_channel(self.gain))


@register
class NanInputGradient(Affine):
    def call(self, inputs):
        return super().call(inputs) + ops.sqrt(0.0 * inputs)


@pytest.mark.skipif(not COMPILED, reason="Keras does not compile on PyTorch")
def test_a_layer_that_runs_only_eagerly_is_caught():
    fails(BranchOnValues, "fit: ")


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (NanInTraining, "fit: the training loss is nan"),
        (Stopped, r"the gradient of weight 'stopped\w*/gain' is zero"),
        (NanGradient, r"the gradient of weight 'nan_gradient\w*/gain' is not finite"),
        (NanInputGradient, "gradient: the gradient of the input is not finite"),
    ],
)
def test_gradient_faults_are_caught(cls, match):
    fails(cls, match)


def test_a_weight_without_gradient_is_caught_unless_declared():
    fails(Unused, r"gradient: the gradient of weight 'unused\w*/shift' is zero")
    run_layer_test(Unused, {}, IMAGES, zero_gradient=["shift"])
    fails(Unused, r"zero_gradient names \['bias'\]", zero_gradient=["shift", "bias"])


# --- mixed precision ----------------------------------------------------------------------------


@register
class FloatOutput(Affine):
    def call(self, inputs):
        return ops.cast(super().call(inputs), "float32")


@register
class HalfWeights(Affine):
    def build(self, input_shape):
        super().build(input_shape)
        self.half = self.add_weight(shape=(3,), dtype=self.compute_dtype, name="half")

    def call(self, inputs):
        return super().call(inputs) + self.by_channel(self.half)


@register
class Overflows(Affine):
    def call(self, inputs):
        return super().call(inputs * 1e6) * 1e-6


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (FloatOutput, "mixed_bfloat16: the output is float32, expected bfloat16"),
        (HalfWeights, r"weight 'half_weights\w*/half' is bfloat16, expected float32"),
        (Overflows, "mixed_float16: the output is (nan|inf) away from float32"),
    ],
)
def test_mixed_precision_faults_are_caught(cls, match):
    fails(cls, match)


def test_mixed_precision_can_be_left_out():
    run_layer_test(FloatOutput, {}, IMAGES, mixed_precision=False)


# --- saving -------------------------------------------------------------------------------------


@register
class ForgetsShift(Affine):
    def save_own_variables(self, store):
        store["gain"] = ops.convert_to_numpy(self.gain)

    def load_own_variables(self, store):
        self.gain.assign(store["gain"])


@register
class RefusesItsFile(Affine):
    def save_own_variables(self, store):
        store["0"] = ops.convert_to_numpy(self.gain)


@register
class Untracked(Affine):
    class Box:
        pass

    def build(self, input_shape):
        super().build(input_shape)
        self.box = self.Box()
        self.box.kernel = keras.Variable(np.random.standard_normal(3), dtype="float32")

    def call(self, inputs):
        return super().call(inputs) + self.by_channel(self.box.kernel)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (ForgetsShift, r"save and load: weight '.*forgets_shift\w*/shift' came back with other"),
        (RefusesItsFile, "save and load: "),
        (Untracked, "rebuilt from config: outputs from the same weights: values differ"),
    ],
)
def test_weights_lost_on_reload_are_caught(cls, match):
    fails(cls, match)


def test_state_that_only_the_file_loses_is_caught():
    @register
    class Loaded(Affine):
        """Adds one as soon as it was loaded from a file."""

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.offset = 0.0

        def load_own_variables(self, store):
            super().load_own_variables(store)
            self.offset = 1.0

        def call(self, inputs):
            return super().call(inputs) + self.offset

    fails(Loaded, "save and load: all weights came back, yet the outputs differ")


# --- export -------------------------------------------------------------------------------------


def test_deployable_layers_are_exported(monkeypatch):
    exported = []
    monkeypatch.setattr(
        "kdl.testing.layer_test.run_export_test", lambda *given: exported.append(given)
    )
    run_layer_test(Affine, {}, IMAGES)
    assert not exported
    run_layer_test(Affine, {}, IMAGES, deployable=True)
    ((model, data),) = exported
    assert model.output_shape == (None, *IMAGES[1:])
    assert data.shape == IMAGES


def test_a_missing_exporter_is_an_import_error(monkeypatch):
    def missing(*given):
        raise ImportError("pip install tensorflow")

    monkeypatch.setattr("kdl.testing.layer_test.run_export_test", missing)
    with pytest.raises(ImportError, match="pip install tensorflow"):
        run_layer_test(Affine, {}, IMAGES, deployable=True)


# --- the helper itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "data", "match"),
    [
        (None, None, "Expected input_shape or input_data, got neither"),
        ((2, 3), np.zeros((2, 4)), r"input_shape is \(2, 3\), but input_data has the shapes"),
        ((1, 3), None, "Expected a batch of 2 or more"),
    ],
)
def test_contradicting_arguments_are_value_errors(shape, data, match):
    with pytest.raises(ValueError, match=match):
        run_layer_test(layers.Dense, {"units": 2}, shape, input_data=data)


def test_a_backend_without_gradients_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    fails(Affine, r"gradient: gradients need one of \['jax', 'tensorflow', 'torch'\], not 'numpy'")


def global_state():
    return (
        random.random(),
        np.random.random(),
        keras.ops.convert_to_numpy(keras.random.uniform((2,))).tolist(),
        keras.config.dtype_policy().name,
        keras.config.floatx(),
        keras.config.image_data_format(),
    )


def seeded(action):
    keras.utils.set_random_seed(7)
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_floatx("float16")
    keras.config.set_image_data_format("channels_first")
    action()
    return global_state()


@register
class ChangesThePolicy(Affine):
    def build(self, input_shape):
        super().build(input_shape)
        keras.config.set_dtype_policy("float16")
        keras.config.set_floatx("bfloat16")
        keras.config.set_image_data_format("channels_last")
        np.random.seed(1)
        random.seed(1)


def test_global_state_is_restored_also_after_a_failure():
    before = global_state()[3:]
    try:
        expected = seeded(lambda: None)
        assert expected == seeded(lambda: run_layer_test(layers.Dropout, {"rate": 0.5}, (2, 8)))
        assert expected == seeded(lambda: fails(ChangesThePolicy, "dtype"))
    finally:
        policy, floatx, data_format = before
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(data_format)


def test_runs_are_repeatable():
    seen = []

    def record(layer, x):
        seen.append([x, *(ops.convert_to_numpy(w) for w in layer.weights)])
        return affine_reference(layer, x)

    for _ in range(2):
        run_layer_test(Affine, {}, IMAGES, reference=record)
    for first, second in zip(*seen, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_helpers_work_under_python_o():
    for path in Path(kdl.testing.__file__).parent.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        assert not any(isinstance(node, ast.Assert) for node in nodes), path
