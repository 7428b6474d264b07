import numpy as np
import pytest
from golden import stand_in

from kdl.applications import ShuffleNetV2, load_torch_weights


@pytest.fixture(scope="module")
def state():
    return stand_in.load("shufflenet_v2_x1_0")[0]


def small_model(**arguments):
    return ShuffleNetV2(1.0, input_shape=(32, 32, 3), **arguments)


def assert_untouched(model, state, message):
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        load_torch_weights(model, state)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.every_backend
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weight_files_load_as_the_mapping_does(state, suffix, tmp_path):
    import torch
    from safetensors.numpy import save_file

    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({name: torch.tensor(value) for name, value in state.items()}, path)
    else:
        save_file(state, path)
    from_file, from_mapping = small_model(weights=path), small_model()
    load_torch_weights(from_mapping, state)
    for one, other in zip(from_file.get_weights(), from_mapping.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_torch_tensors_are_taken_as_values(state):
    import torch

    model = small_model()
    load_torch_weights(model, {n: torch.tensor(v).requires_grad_(False) for n, v in state.items()})
    kernel = model.get_layer("classifier").get_weights()[0]
    np.testing.assert_array_equal(kernel, state["fc.weight"].T)


def test_model_without_top_loads_a_file_with_top(state):
    model = small_model(include_top=False)
    load_torch_weights(model, state)
    gamma = model.get_layer("stem_bn").get_weights()[0]
    np.testing.assert_array_equal(gamma, state["conv1.1.weight"])


def test_model_built_in_a_name_scope_loads(state):
    import keras

    with keras.name_scope("outer"):
        model = small_model()
    load_torch_weights(model, state)
    bias = model.get_layer("classifier").get_weights()[1]
    np.testing.assert_array_equal(bias, state["fc.bias"])


@pytest.mark.parametrize(
    "prefix", ["model.", "backbone.", "module._orig_mod.", "_orig_mod.", "model.module.net."]
)
def test_prefixed_names_are_recognized(prefix, state):
    model = small_model(include_top=False)
    around = {"neck.weight": np.ones(3), "epoch": np.array(3)} if "_orig_mod" not in prefix else {}
    load_torch_weights(model, {**{f"{prefix}{n}": v for n, v in state.items()}, **around})
    gamma = model.get_layer("stem_bn").get_weights()[0]
    np.testing.assert_array_equal(gamma, state["conv1.1.weight"])


def test_prefixed_names_errors_name_the_prefix(state):
    partial = {f"model.{n}": v for n, v in state.items() if n != "conv1.0.weight"}
    message = r"'conv1.0.weight' is missing from the state dict \(after the prefix 'model\.'"
    assert_untouched(small_model(), partial, message)


def test_weights_of_another_network_errors_list_its_names():
    other = {"model.features.0.weight": np.ones(3)}
    assert_untouched(small_model(), other, r"first names are \['model\.features\.0\.weight'\]")


def test_file_of_two_networks_loads_the_first(state):
    both = {f"model.{n}": v for n, v in state.items()}
    both |= {f"ema_model.module.{n}": 0 * v for n, v in state.items()}
    model = small_model()
    load_torch_weights(model, both)
    bias = model.get_layer("classifier").get_weights()[1]
    np.testing.assert_array_equal(bias, state["fc.bias"])


@pytest.mark.parametrize("values", [np.array(["a"] * 24), np.full(24, 1j), np.full(24, None)])
def test_non_numeric_tensors_raise(values, state):
    message = r"'conv1\.1\.weight' in the state dict holds no numbers"
    assert_untouched(small_model(), {**state, "conv1.1.weight": values}, message)


def test_missing_tensor_raises(state):
    partial = {n: v for n, v in state.items() if n != "stage3.2.branch2.3.weight"}
    assert_untouched(small_model(), partial, r"'stage3.2.branch2.3.weight' is missing")


def test_surplus_tensor_raises(state):
    assert_untouched(small_model(), {**state, "extra.weight": np.zeros(3)}, "holds 'extra.weight'")


def test_weights_of_another_width_raise(state):
    model = ShuffleNetV2(0.5, input_shape=(32, 32, 3))
    assert_untouched(model, state, r"'stage2.0.branch1.2.weight' in the state dict has shape")


def test_weights_of_another_number_of_classes_raise(state):
    assert_untouched(small_model(classes=10), state, r"'fc.weight'.*\(1024, 1000\)")


def test_weights_of_another_network_raise():
    state = {"layer1.0.conv1.weight": np.zeros((64, 64, 1, 1), "float32")}
    assert_untouched(small_model(), state, r"'conv1.0.weight' is missing .* another network")


def test_weights_of_another_variant_raise(state):
    assert_untouched(small_model(variant="megvii"), state, r"'first_conv.0.weight' is missing")


def test_truncated_file_raises(state, tmp_path):
    import torch

    path = tmp_path / "cut.pth"
    torch.save({name: torch.tensor(value) for name, value in state.items()}, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"cut\.pth"):
        small_model(weights=path)


def test_bad_arguments_raise():
    import keras

    sequential = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="received a Sequential"):
        load_torch_weights(sequential, {})
    with pytest.raises(ValueError, match="path or a mapping"):
        load_torch_weights(small_model(), [1, 2])
    with pytest.raises(FileNotFoundError):
        load_torch_weights(small_model(), "missing.pth")


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_keras_files(suffix, tmp_path):
    model = ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=4)
    path = tmp_path / f"model{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    counterpart = ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=4, weights=path)
    for one, other in zip(model.get_weights(), counterpart.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="does not fit"):
        ShuffleNetV2(1.0, input_shape=(32, 32, 3), classes=4, weights=path)
