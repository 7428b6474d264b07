import inspect

import keras
import numpy as np
import pytest
from golden import keras_twin, stand_in

from kdl.applications import load_keras_weights, load_torch_weights
from kdl.applications.nasnet import ENTRIES, NASNet
from kdl.applications.nasnet_sizes import NASNetLarge, NASNetMobile
from kdl.graph.macs import macs
from kdl.ops import lowering_scope
from kdl.testing import run_model_test
from kdl.training.callbacks.drop_path_schedule import DropPathSchedule

TINY = {"penultimate_filters": 96, "blocks": 1, "stem_filters": 4}

# Cells smaller than NASNet-A's.
NORMAL = {"rows": [["sep3", 0, "identity", 1], ["max3", 1, "avg3", 0]], "outputs": [2, 3]}
REDUCTION = {"rows": [["identity", 0, "max3", 1]], "outputs": [2]}
SMALL = {
    "penultimate_filters": 32,
    "blocks": 1,
    "stem_filters": 4,
    "normal": NORMAL,
    "reduction": REDUCTION,
}


@pytest.fixture(autouse=True)
def quickly_compiled():
    """JAX's compiler takes minutes for hundreds of kernels of 25 and 49 taps written out."""
    with lowering_scope("native" if keras.backend.backend() == "jax" else "auto"):
        yield


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


def tiny(**arguments):
    return NASNet(**TINY, **{"input_shape": (32, 32, 3), "classes": 5, **arguments})


def small(**arguments):
    return NASNet(**SMALL, **{"input_shape": (32, 32, 3), "classes": 5, **arguments})


def count(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def test_mobile_network():
    model = NASNetMobile(input_shape=(32, 32, 3))
    [entry] = [entry for entry in ENTRIES if entry.name == model.name]
    assert model.name == "nasnet_mobile"
    assert count(model) == entry.parameters == 5_289_978
    assert model.count_params() == 5_326_716
    assert macs(model, (224, 224, 3)) == 563_638_816


def test_outputs_from_pixels_match_keras_applications():
    reference = keras_twin.randomize(keras_twin.read("keras_nasnet"))
    model = NASNet(
        96,
        2,
        4,
        lineage="keras",
        input_shape=(65, 48, 3),
        classes=20,
        classifier_activation=None,
    )
    load_keras_weights(model, reference)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 65, 48, 3), "uint8")
    scaled = keras.applications.nasnet.preprocess_input(pixels.astype("float32"))
    expected = to_numpy(reference(scaled))
    logits = to_numpy(model(NASNet.preprocess_input(pixels)))
    assert np.abs(logits - expected).max() <= 1e-4 * expected.std()


def test_model():
    run_model_test(
        NASNet,
        {**SMALL, "classes": 5, "lineage": "keras", "drop_path_keep": 0.9},
        (4, 48, 33, 3),
        expected_output_shape=(4, 5),
        pyramid_margin=1,
        atol=1e-4,
    )


def test_pyramid_levels_end_before_the_next_reduction():
    model = tiny(include_top=False, input_shape=(65, 48, 3))
    shapes = {name: tensor.shape[1:] for name, tensor in model.pyramid_outputs.items()}
    assert shapes == {
        "P1": (32, 23, 4),
        "P2": (16, 12, 4),
        "P3": (8, 6, 24),
        "P4": (4, 3, 48),
        "P5": (2, 2, 96),
    }


@pytest.mark.long_to_compile
@pytest.mark.every_backend
def test_auxiliary_classifier_and_drop_path_in_training():
    model = small(input_shape=(96, 96, 3), auxiliary=True, drop_path_keep=0.8)
    assert model.output_names == ["classifier", "auxiliary"]
    assert model.output_shape == [(None, 5), (None, 5)]
    assert model.get_layer("auxiliary_conv2").kernel.shape == (1, 1, 128, 768)
    model.compile("sgd", ["sparse_categorical_crossentropy"] * 2, loss_weights=[1, 0.4])
    x, y = np.zeros((2, 96, 96, 3), "float32"), np.zeros(2, "int32")
    logs = model.fit(x, [y, y], verbose=0, callbacks=[DropPathSchedule(4)]).history
    total = logs["classifier_loss"][0] + 0.4 * logs["auxiliary_loss"][0]
    assert logs["loss"][0] == pytest.approx(total, rel=1e-4)
    steps = [int(w) for w in model.non_trainable_weights if w.name == "drop_path_step"]
    assert steps == [1] * (3 * 3 + 4 * 1)  # all but the identities of three and four cells
    counterpart = NASNet.from_config(model.get_config())
    assert counterpart.output_names == model.output_names


def test_momentum_is_passed_to_every_batch_norm():
    model = tiny(momentum=0.5)
    norms = [x for cell in model.layers for x in (cell, *cell._flatten_layers(include_self=False))]
    outputs = {x.momentum for x in norms if isinstance(x, keras.layers.BatchNormalization)}
    assert outputs == {0.5}


def test_published_weights_fit_a_network_with_drop_path():
    without_drop_path = tiny()
    state = stand_in.state_for(without_drop_path, "timm")
    load_torch_weights(without_drop_path, state)
    model = tiny(drop_path_keep=0.7)
    load_torch_weights(model, state)
    x = stand_in.image(32)
    np.testing.assert_array_equal(to_numpy(model(x)), to_numpy(without_drop_path(x)))


def test_cells_of_another_search_build():
    model = small()
    assert model.get_layer("head_relu").output.shape == (None, 1, 1, 32)
    assert NASNet.from_config(model.get_config()).get_config() == model.get_config()
    assert model.reference_names() == {}
    with pytest.raises(ValueError, match="knows no names for nasnet_1_32"):
        load_torch_weights(model, {})


def test_sized_constructors():
    assert inspect.signature(NASNetLarge).parameters["penultimate_filters"].default == 4032
    assert NASNetMobile.preprocess_input is NASNet.preprocess_input
    for entry in ENTRIES:
        assert entry.input_shape == ((331,) * 3 if "large" in entry.name else (224,) * 3)[:2] + (3,)
        for source in entry.sources:
            assert source.parameters == entry.parameters
            assert source.sha256 is None or source.sha256 in source.name
            assert source.crop == entry.input_shape[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"penultimate_filters": 100}, "multiple of 96.*received 100. Nearest: 96 or 192"),
        ({"blocks": 0}, "blocks must be a positive integer"),
        ({"lineage": "torch"}, "lineage must be one of 'slim', 'timm', 'keras'"),
        ({"output_stride": 16}, "output_stride must be 32; received 16"),
        ({"drop_path_keep": 0.0}, r"must be in \(0, 1\]"),
        ({"normal": {"rows": []}}, 'dict of "rows" and "outputs"'),
        ({"input_shape": (31, 64, 3)}, "at least 32×32"),
        ({"auxiliary": True}, r"leaves 5×5 pixels.*there are \(2, 2\)"),
        ({"auxiliary": True, "include_top": False}, "needs include_top=True"),
        (
            {"lineage": "keras", "include_top": False, "input_shape": None},
            "pads by the size of the image",
        ),
        ({"weights": "imagenet"}, "No public ImageNet weights"),
    ],
)
def test_bad_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        NASNet(**{**TINY, "input_shape": (32, 32, 3), **arguments})
