import keras
import numpy as np
import pytest

from kdl.layers.blocks.fire_module import FireModule
from kdl.testing import run_layer_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def reference(fire, x):
    """The module in plain PyTorch, from the weights of `fire`."""
    import torch
    from torch.nn import functional as F

    x = torch.tensor(x.transpose(0, 3, 1, 2))
    weights = {w.path.split("/", 1)[-1]: torch.tensor(to_numpy(w)) for w in fire.weights}

    def conv(x, name, padding=0):
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        rate = fire.dilation_rate if padding else 1
        return F.conv2d(x, kernel, weights[f"{name}/bias"], 1, padding * rate, rate)

    squeezed = F.relu(conv(x, "squeeze"))
    expanded = [F.relu(conv(squeezed, "expand1x1")), F.relu(conv(squeezed, "expand3x3", 1))]
    y = torch.cat(expanded, 1)
    if fire.bypass == "simple" or (fire.bypass and x.shape[1] == y.shape[1]):
        y = y + x
    elif fire.bypass == "complex":
        y = y + conv(x, "shortcut")
    return y.numpy().transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("bypass", "width", "dilation_rate"),
    [("simple", 7, 1), ("complex", 5, 2)],
)
def test_layer(bypass, width, dilation_rate):
    run_layer_test(
        FireModule,
        {
            "squeeze": 2,
            "expand1x1": 3,
            "expand3x3": 4,
            "bypass": bypass,
            "dilation_rate": dilation_rate,
        },
        (4, 5, 6, width),
        expected_output_shape=(4, 5, 6, 7),
        reference=reference,
    )


@pytest.mark.parametrize(("bypass", "width"), [(None, 7), ("complex", 7), ("complex", 5)])
def test_outputs_with_biases_match(bypass, width):
    rng = np.random.default_rng(0)
    fire = FireModule(2, 3, 4, bypass, data_format="channels_last", name="fire")
    x = rng.standard_normal((2, 5, 6, width)).astype("float32")
    fire.build(x.shape)
    fire.set_weights([rng.standard_normal(w.shape) for w in fire.get_weights()])
    np.testing.assert_allclose(to_numpy(fire(x)), reference(fire, x), atol=1e-5)


def test_complex_bypass_has_weights_only_for_different_widths():
    counts = []
    for bypass, width in ((None, 7), ("simple", 7), ("complex", 7), (None, 5), ("complex", 5)):
        fire = FireModule(2, 3, 4, bypass, data_format="channels_last")
        fire.build((None, 4, 4, width))
        counts.append(fire.count_params())
    assert counts[0] == counts[1] == counts[2] == 2 * 7 + 2 + 3 * 2 + 3 + 4 * 2 * 9 + 4
    assert counts[4] - counts[3] == 5 * 7 + 7


@pytest.mark.export
def test_exports():
    run_layer_test(
        FireModule, {"squeeze": 2, "expand1x1": 4, "expand3x3": 4}, (4, 6, 6, 8), deployable=True
    )


def test_symbolic_call_yields_the_inner_graph():
    fire = FireModule(2, 3, 4, "complex", data_format="channels_last")
    fire.build((None, 6, 6, 5))
    inputs = keras.Input((6, 6, 5))
    model = keras.Model(inputs, fire.call(inputs))
    names = {layer.name for layer in model.layers}
    assert {"squeeze", "expand1x1", "expand3x3", "shortcut"} <= names
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 5)).astype("float32")
    np.testing.assert_allclose(*(to_numpy(f(x)) for f in (model, fire)), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"squeeze": 0}, "squeeze must be a positive integer; received 0"),
        ({"expand1x1": 1.5}, "expand1x1 must be a positive integer"),
        ({"expand3x3": -1}, "expand3x3 must be a positive integer"),
        ({"bypass": True}, "bypass must be one of None, 'simple', 'complex'; received True"),
        ({"dilation_rate": 0}, "dilation_rate must be a positive integer"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        FireModule(**{"squeeze": 2, "expand1x1": 3, "expand3x3": 4, **arguments})


def test_bad_input_width_raises():
    fire = FireModule(2, 3, 4, "simple", data_format="channels_last")
    for method in (fire.build, fire.compute_output_shape):
        with pytest.raises(ValueError, match=r'7 channels; it has 6\. Pass bypass="complex"'):
            method((None, 4, 4, 6))
    with pytest.raises(ValueError, match="input channels must be known"):
        FireModule(2, 3, 4, data_format="channels_last").build((None, 4, 4, None))
