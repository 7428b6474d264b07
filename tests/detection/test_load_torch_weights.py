import keras
import numpy as np

from kdl.applications import ResNet
from kdl.applications.weights.convert import named_weights
from kdl.detection import FeaturePyramid, RetinaNet, RetinaNetHead, load_torch_weights


def network():
    backbone = ResNet((1, 1, 1, 1), 8, include_top=False, input_shape=(64, 64, 3))
    neck, head = FeaturePyramid(8, extra="p5"), RetinaNetHead(2, filters=8, depth=2)
    return RetinaNet(backbone, 2, neck=neck, head=head)


def state_of(model):
    """The weights under torchvision's names, in PyTorch's layout."""
    state = {}
    for number, (weight, name) in enumerate(named_weights(model, "torchvision")):
        rng = np.random.default_rng(number)
        shape = tuple(weight.shape)
        if len(shape) < 2:
            state[name] = rng.uniform(0.5, 1.5, shape).astype("float32")
        else:
            shape = np.take(shape, (3, 2, 0, 1))
            state[name] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype("float32")
    return state


def outputs(model):
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    return keras.ops.convert_to_numpy(model(images, training=False)["class_logits"])


def test_first_generation_of_names_gives_what_the_second_gives():
    model = network()
    state = state_of(model)
    load_torch_weights(model, state)
    expected = outputs(model)
    renamed = {f"_blocks.{i}.0.": f"_blocks.{i}." for i in range(3)}
    renamed |= {f"head.conv.{i}.0.": f"head.conv.{2 * i}." for i in range(2)}
    old = {}
    for name, array in state.items():
        for ours, theirs in renamed.items():
            name = name.replace(ours, theirs)
        old[name] = array
    assert old.keys() != state.keys()
    other = network()
    load_torch_weights(other, old)
    np.testing.assert_array_equal(outputs(other), expected)


def test_another_epsilon_is_taken_up_by_the_scales():
    """As if each norm computed with it, also where the variance is as small as that."""
    model, reference = network(), network()
    state = state_of(model)
    for name in state:
        if name.endswith("running_var"):
            state[name][0] = 1e-6
    load_torch_weights(reference, state)
    for layer in reference._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.epsilon = 1e-7
    load_torch_weights(model, state, epsilon=1e-7)
    expected = outputs(reference)
    np.testing.assert_allclose(outputs(model), expected, atol=1e-4 * expected.std())
