import keras
import pytest

from kdl.applications import ShuffleNetV2, pyramid


@pytest.mark.parametrize("name", ["MobileNet", "ResNet50", "Xception"])
def test_levels_of_keras_applications(name):
    """P1 to P5, the last of them the model's output, all computable together."""
    model = getattr(keras.applications, name)(
        include_top=False, weights=None, input_shape=(96, 96, 3)
    )
    levels = pyramid(model)
    assert list(levels) == ["P1", "P2", "P3", "P4", "P5"]
    assert levels["P5"] is model.output
    features = keras.Model(model.input, levels)
    # Xception's stem is not padded: 96 → 47 → 45.
    sides = [45, 23, 12, 6, 3] if name == "Xception" else [48, 24, 12, 6, 3]
    assert [features.output[f"P{n}"].shape[1] for n in range(1, 6)] == sides


def test_levels_of_a_model_of_dynamic_size():
    levels = pyramid(keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25))
    assert {k: v.shape for k, v in levels.items()} == {
        f"P{n}": (None, None, None, 8 << n) for n in range(1, 6)
    }


def test_kdl_models_return_pyramid_outputs():
    model = ShuffleNetV2(0.5, include_top=False)
    assert pyramid(model) == model.pyramid_outputs


def test_unsupported_models_raise():
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="no feature map whose stride is 2"):
        pyramid(keras.Model(inputs, keras.layers.ReLU()(inputs)))
    pair = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    with pytest.raises(ValueError, match="a functional model with one input"):
        pyramid(keras.Model(pair, keras.layers.Add()(pair)))
