import keras
import numpy as np
import pytest
from keras import layers, ops

from kdl.testing import run_model_test

IMAGES = (2, 16, 16, 3)
TRAINABLE = 3 * 3 * 3 * 4 + 2 * 4 + 3 * 3 * 4 * 8 + 8 + 8 * 5 + 5
register = keras.saving.register_keras_serializable("kdl_model_tests")


@register
class Net(keras.Model):
    """A model without a fault: two convolutions of stride 2."""

    def __init__(
        self,
        width=4,
        include_top=True,
        weights=None,
        input_shape=(16, 16, 3),
        pooling=None,
        classes=5,
        name="net",
    ):
        inputs = keras.Input(input_shape)
        p1 = self.stem(inputs, width)
        p2 = layers.Conv2D(2 * width, 3, strides=2, padding="same", name="second")(p1)
        outputs = self.top(p2, classes) if include_top else self.pool(p2, pooling)
        super().__init__(inputs, outputs, name=name)
        self.pyramid_outputs = {"P1": p1, "P2": p2}
        self.arguments = {
            "width": width,
            "include_top": include_top,
            "weights": None,
            "input_shape": input_shape,
            "pooling": pooling,
            "classes": classes,
            "name": name,
        }

    def stem(self, x, width):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name="first")(x)
        x = layers.BatchNormalization(name="norm")(x)
        return layers.ReLU(name="relu")(x)

    def top(self, x, classes):
        x = layers.GlobalAveragePooling2D(name="average")(x)
        return layers.Dense(classes, activation="softmax", name="predictions")(x)

    def pool(self, x, pooling):
        if pooling == "avg":
            return layers.GlobalAveragePooling2D(name="average")(x)
        return layers.GlobalMaxPooling2D(name="maximum")(x) if pooling == "max" else x

    def get_config(self):
        return dict(self.arguments)


def fails(cls, match, init_kwargs=None, **options):
    with pytest.raises(AssertionError, match=match) as caught:
        run_model_test(cls, init_kwargs or {}, IMAGES, **options)
    assert str(caught.value).startswith(cls.__name__)


# --- models that pass ---------------------------------------------------------------------------


@pytest.mark.every_backend
def test_a_faultless_model_passes():
    run_model_test(Net, {}, IMAGES, expected_output_shape=(2, 5), expected_parameters=TRAINABLE)


def test_sizes_that_do_not_divide_are_rounded_up():
    run_model_test(Net, {"width": 2}, (2, 18, 13, 3), expected_output_shape=(2, 5))


def test_a_given_input_shape_is_kept():
    run_model_test(Net, {"input_shape": (16, 16, 3), "include_top": False}, IMAGES)


# --- config -------------------------------------------------------------------------------------


@register
class MissingArgument(Net):
    def __init__(self, width=4, input_shape=(16, 16, 3), name="net"):
        super().__init__(width, input_shape=input_shape, name=name)

    def get_config(self):
        return {k: self.arguments[k] for k in ("input_shape", "name")}


@register
class KeepsWeights(Net):
    def get_config(self):
        return {**super().get_config(), "weights": "imagenet"}


@register
class ForgetsWidth(Net):
    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "width": 4})


@register
class HiddenSetting(Net):
    def __init__(self, width=4, input_shape=(16, 16, 3), name="net", **kwargs):
        self.made = getattr(type(self), "made_so_far", 0) + 1
        type(self).made_so_far = self.made
        super().__init__(width, input_shape=input_shape, name=name, **kwargs)

    def top(self, x, classes):
        return super().top(layers.Rescaling(float(self.made))(x), classes)


@pytest.mark.parametrize(
    ("cls", "init_kwargs", "match"),
    [
        (MissingArgument, {}, r"config: get_config lacks \['width'\]"),
        (KeepsWeights, {}, "config: get_config holds weights='imagenet'"),
        (ForgetsWidth, {"width": 2}, "config: from_config changed the config: 'width' from 2 to 4"),
        (HiddenSetting, {}, "rebuilt from config: outputs from the same weights: values differ"),
    ],
)
def test_config_faults_are_caught(cls, init_kwargs, match):
    fails(cls, match, init_kwargs)


# --- outputs ------------------------------------------------------------------------------------


@register
class WrongPooling(Net):
    def pool(self, x, pooling):
        return super().pool(x, "avg" if pooling == "max" else pooling)


@register
class KeepsTop(Net):
    def pool(self, x, pooling):
        return layers.GlobalAveragePooling2D(name="average")(x)


@register
class LyingPyramid(Net):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pyramid_outputs = {"P1": self.pyramid_outputs["P1"], "P3": self.outputs_of("second")}

    def outputs_of(self, name):
        return self.get_layer(name).output


@register
class OddPyramid(Net):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pyramid_outputs = {"stage1": self.get_layer("relu").output}


@register
class ForeignPyramid(Net):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pyramid_outputs = {"P1": layers.MaxPooling2D()(keras.Input((16, 16, 3)))}


@register
class NoPyramid(Net):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pyramid_outputs = None


@pytest.mark.parametrize(
    ("cls", "match"),
    [
        (WrongPooling, "include_top=False: pooling='max': values differ"),
        (KeepsTop, r"include_top=False: expected a feature map of rank 4, got the shape \(2, 8\)"),
        (LyingPyramid, r"pyramid: P3 of \(16, 16\) pixels is \(2, 2\); pyramid_outputs has \(4, 4"),
        (OddPyramid, r"pyramid: pyramid_outputs has the keys \['stage1'\]"),
        (ForeignPyramid, "pyramid: ValueError"),
        (NoPyramid, "pyramid: expected a dict in model.pyramid_outputs, got None"),
    ],
)
def test_output_faults_are_caught(cls, match):
    fails(cls, match)


def test_a_model_without_pyramid_passes_if_told():
    run_model_test(NoPyramid, {}, IMAGES, pyramid=False)


@register
class Larger(Net):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        p1 = self.pyramid_outputs["P1"]
        self.pyramid_outputs = {"P1": layers.ZeroPadding2D(((0, 1), (0, 0)))(p1)}


@register
class Unpadded(Net):
    """Levels of 7 and 3 pixels where 8 and 4 are the rule."""

    def stem(self, x, width):
        x = layers.Conv2D(width, 3, strides=2, use_bias=False, name="first")(x)
        return layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        p1 = self.pyramid_outputs["P1"]
        self.pyramid_outputs = {"P1": p1, "P2": layers.MaxPooling2D(3, 2)(p1)}


def test_a_margin_lets_levels_of_the_pyramid_be_smaller_not_larger():
    run_model_test(Unpadded, {}, IMAGES, pyramid_margin=1)
    fails(Unpadded, r"P1 of \(16, 16\) pixels is \(8, 8\); pyramid_outputs has \(7, 7\)")
    message = r"P1 of \(16, 13\) pixels is \(8, 7\), or up to 1 fewer; pyramid_outputs has \(9, 7\)"
    with pytest.raises(AssertionError, match=message):
        run_model_test(Larger, {}, (2, 16, 13, 3), pyramid_margin=1)


def test_wrong_expectations_are_caught():
    fails(Net, r"expected the output shape \(2, 6\), got", expected_output_shape=(2, 6))
    fails(
        Net,
        f"parameters: expected 1 trainable parameters, got {TRAINABLE}, and 8 that are not",
        expected_parameters=1,
    )


# --- training and saving ------------------------------------------------------------------------


@register
class NanGradient(layers.Layer):
    def call(self, inputs):
        return inputs + ops.sqrt(0.0 * inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@register
class NanOutput(NanGradient):
    def call(self, inputs):
        return inputs * float("nan")


@register
class WrongShape(NanGradient):
    def call(self, inputs):
        return inputs[:, :2]


@register
class ForgetsItsWeight(layers.Layer):
    def build(self, input_shape):
        self.gain = self.add_weight(shape=(), initializer="ones", name="gain")

    def call(self, inputs):
        return inputs * self.gain

    def compute_output_shape(self, input_shape):
        return input_shape

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


@register
class ForgetsItsUnits(layers.Dense):
    def get_config(self):
        return {**super().get_config(), "units": 7}


def net_with(layer, name):
    """A class of models that ends in a faulty layer."""

    def top(self, x, classes):
        x = layers.GlobalAveragePooling2D(name="average")(x)
        return layer(layers.Dense(classes, name="predictions")(x))

    return register(type(name, (Net,), {"top": top}))


def test_faulty_layers_in_a_model_are_caught():
    fails(net_with(lambda x: NanGradient()(x), "NanGradientNet"), "gradient: .* is not finite")
    fails(net_with(lambda x: NanOutput()(x), "NanNet"), "output shape: the output holds NaN")
    fails(
        net_with(lambda x: WrongShape()(x), "ShapeNet"),
        r"output shape: model.output_shape promises \[\(2, 5\)\], the outputs have \[\(2, 2\)\]",
    )
    fails(
        net_with(lambda x: ForgetsItsWeight()(x), "ForgetfulNet"),
        "save and load: weight '.*/gain' came back with other values",
    )
    fails(
        net_with(lambda x: ForgetsItsUnits(5)(x), "CloneNet"),
        "clone: expected weights of shapes",
    )


@register
class Stop(NanGradient):
    def call(self, inputs):
        return ops.stop_gradient(inputs)


@register
class Detached(Net):
    def top(self, x, classes):
        return super().top(Stop()(x), classes)


@pytest.mark.every_backend
def test_weights_that_do_not_reach_the_output_are_caught():
    fails(Detached, "gradient: the gradient of weight '.*first/kernel' is zero")
    detached = ["first/kernel", "norm/gamma", "norm/beta", "second/kernel", "second/bias"]
    run_model_test(Detached, {}, IMAGES, zero_gradient=detached)
    fails(Detached, r"zero_gradient names \['third/kernel'\]", zero_gradient=["third/kernel"])


@register
class ZeroGamma(Net):
    """Starts with a branch switched off, as residual networks do."""

    def top(self, x, classes):
        branch = layers.Conv2D(8, 1, name="branch")(x)
        branch = layers.BatchNormalization(gamma_initializer="zeros", name="off")(branch)
        return super().top(layers.Add()([x, branch]), classes)


def test_weights_that_start_at_zero_are_moved_before_gradients_are_taken():
    run_model_test(ZeroGamma, {}, IMAGES)


# --- the helper itself --------------------------------------------------------------------------


def test_one_image_is_a_value_error():
    with pytest.raises(ValueError, match="Expected a batch of 2 or more"):
        run_model_test(Net, {}, (1, 16, 16, 3))


def test_runs_are_repeatable():
    state = np.random.get_state()[1].copy()
    run_model_test(Net, {}, IMAGES)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
