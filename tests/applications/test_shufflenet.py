import keras
import numpy as np
import pytest
from golden import stand_in

from kdl.applications.shufflenet import ENTRIES, ShuffleNet, _stem_width, _units
from kdl.applications.weights.convert import load_torch_weights
from kdl.testing import run_model_test


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def parameters(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def counted(alpha, groups, variant):
    """Parameters by the paper's figure 2 and table 1, from the widths alone."""
    width = _stem_width(alpha, groups, variant)
    total = 3 * 3 * 3 * width + 2 * width
    for stage, unit, filters in _units(alpha, groups):
        middle = filters // 4
        made = filters if unit else filters - width
        seen = width if (stage, unit) == (2, 0) else width // groups
        total += seen * middle + 2 * middle + 9 * middle + 2 * middle
        total += middle // groups * made + 2 * made
        width = filters
    return total + 1000 * width + (0 if variant == "megvii" else 1000)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_parameters(entry):
    assert counted(**entry.arguments) == entry.parameters


def test_squeeze_excite_at_rounded_widths_parameters():
    model = ShuffleNet(0.25, 2, squeeze_ratio=4, input_shape=(32, 32, 3))
    assert model.name == "se_shufflenet_x0_25_g2"
    # Branch by branch: 56 channels less the 6 of the stem, then 56, 104 less 56, and so on.
    widths = [50, 56, 56, 56, 48, *[104] * 7, 96, *[200] * 3]
    more = sum(2 * width * (width // 4) + width // 4 + width for width in widths)
    assert parameters(model) == counted(0.25, 2, "paper") + more
    with pytest.raises(ValueError, match="No public ImageNet weights of se_shufflenet"):
        model.load_initial_weights("imagenet")
    with pytest.raises(ValueError, match="knows no names for se_shufflenet_x0_25_g2"):
        load_torch_weights(model, {})


def test_entries_match_the_table_of_variants():
    kinds = [entry.arguments["variant"] for entry in ENTRIES]
    assert {v: kinds.count(v) for v in kinds} == {"paper": 25, "megvii": 8, "mmpretrain": 1}
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    by_name = {entry.name: entry for entry in ENTRIES}
    assert by_name["shufflenet_x1_0_g3"].parameters == 1_865_728
    assert by_name["shufflenet_x0_5_g4"].parameters == 778_592
    assert by_name["shufflenet_x2_0_g8_megvii"].parameters == 6_521_232
    assert by_name["shufflenet_x1_5_g3_megvii"].macs == 292.4e6
    assert by_name["shufflenet_x1_5_g3"].macs is None  # its stem is wider than Megvii's
    [published] = [entry for entry in ENTRIES if entry.source]
    assert published.name == "shufflenet_x1_0_g3_mmpretrain"
    assert published.source.parameters == published.parameters
    assert published.source.sha256 in published.source.name


def test_mmpretrain_names_load():
    model = ShuffleNet(variant="mmpretrain", input_shape=(32, 32, 3), classes=4)
    assert model.name == "shufflenet_x1_0_g3_mmpretrain"
    rng = np.random.default_rng(0)
    state = {"head.fc.weight": (4, 960), "head.fc.bias": (4,)}
    state |= _conv("backbone.conv1", (24, 3, 3, 3))
    for stage, width, filters, count in [(0, 24, 240, 4), (1, 240, 480, 8), (2, 480, 960, 4)]:
        for unit in range(count):
            path, middle = f"backbone.layers.{stage}.{unit}", filters // 4
            seen = width if unit == 0 else filters
            grouped = seen if (stage, unit) == (0, 0) else seen // 3
            last = filters - width if unit == 0 else filters
            parts = {
                "g_conv_1x1_compress": (middle, grouped, 1, 1),
                "depthwise_conv3x3_bn": (middle, 1, 3, 3),
                "g_conv_1x1_expand": (last, middle // 3, 1, 1),
            }
            for part, shape in parts.items():
                state |= _conv(f"{path}.{part}", shape)
    state = {key: rng.standard_normal(shape).astype("float32") for key, shape in state.items()}
    load_torch_weights(model, state)
    main = {layer.name: layer for layer in model.get_layer("stage3_unit7").main}
    expected = state["backbone.layers.1.7.g_conv_1x1_expand.conv.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(to_numpy(main["pointwise2"].kernel), expected)


def _conv(path, shape):
    """Shapes of a convolution and its batch norm, as mmpretrain names them."""
    norms = ("weight", "bias", "running_mean", "running_var")
    return {f"{path}.conv.weight": shape} | {f"{path}.bn.{n}": shape[:1] for n in norms}


def test_dilated_outputs_contain_the_undilated_ones():
    arguments = {"alpha": 0.25, "groups": 1, "include_top": False, "input_shape": (64, 96, 3)}
    undilated, dilated = (ShuffleNet(**arguments, output_stride=stride) for stride in (32, 8))
    dilated.set_weights(undilated.get_weights())
    x = stand_in.image(96)[:1, :64]
    results, expected = dilated.predict(x, verbose=0), undilated.predict(x, verbose=0)
    assert results.shape == (1, 8, 12, 144)
    np.testing.assert_allclose(results[:, ::4, ::4], expected, atol=1e-5 * expected.max())
    levels = {"P1": (32, 48, 6), "P2": (16, 24, 6), "P3": (8, 12, 36), "P4": (4, 6, 72)}
    levels["P5"] = (2, 3, 144)
    assert {k: t.shape[1:] for k, t in undilated.pyramid_outputs.items()} == levels
    assert list(dilated.pyramid_outputs) == ["P1", "P2", "P3"]
    assert dilated.pyramid_outputs["P3"] is dilated.outputs[0]


def test_model():
    run_model_test(
        ShuffleNet,
        {"alpha": 0.25, "groups": 1, "padding": "same", "classes": 10},
        (2, 64, 64, 3),
        expected_output_shape=(2, 10),
    )


@pytest.mark.every_backend
def test_preprocessing():
    x = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), "uint8")
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for variant in ("paper", "mmpretrain"):
        results = to_numpy(ShuffleNet.preprocess_input(x, variant))
        np.testing.assert_allclose(results, (x / 255 - mean) / std, atol=1e-5)
    megvii = to_numpy(ShuffleNet.preprocess_input(x, "megvii"))
    np.testing.assert_array_equal(megvii, x[..., ::-1].astype("float32"))
    with pytest.raises(ValueError, match="variant must be"):
        ShuffleNet.preprocess_input(x, "torchvision")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.75}, r"alpha must be one of .* received 0.75. Nearest: 0.5 and 1.0"),
        ({"groups": 6}, r"groups must be one of .* received 6. Nearest: 4 and 8"),
        ({"groups": "3"}, r"groups must be one of \(1, 2, 3, 4, 8\); received '3'\.$"),
        ({"groups": True}, "received True"),
        (
            {"variant": "megvii", "alpha": 0.5, "groups": 2},
            'With variant="megvii", groups must be .* received 2. Nearest: 3 and 8',
        ),
        ({"variant": "megvii"}, "received 0.25. Nearest: 0.5 and 1.0"),
        ({"variant": "mmpretrain"}, r"alpha must be one of \(1.0,\); received 0.25. Nearest: 1.0"),
        ({"variant": "torchvision"}, "variant must be one of 'paper', 'megvii', 'mmpretrain'"),
        ({"output_stride": 4}, "output_stride must be"),
        ({"padding": "valid"}, "padding must be"),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNet(**{"alpha": 0.25, **arguments})
