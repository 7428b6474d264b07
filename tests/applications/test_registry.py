"""Every model of the registry: size, cost, graph, files. A new model is tested by existing.

What builds a model runs for the smallest of each class, on PyTorch; its counts are compared for all
in the long tests. What needs a forward pass or an export runs for the smallest of each class, with
few blocks; with `--every-model` for all, as they are.
"""

import inspect

import keras
import numpy as np
import pytest

from kdl._compat import operation_of
from kdl.applications import create_model, list_models, macs
from kdl.compression import flatten
from kdl.layers import AveragePooling2D
from kdl.testing._randomized_weights import randomize_weights

ENTRIES = {entry.name: entry for entry in list_models()}

# Pixels: the least that the family takes and a TFLite file of it needs little time for.
SIZES = {"nasnet": 64, "squeezenet": 48}

# Start of the name → arguments that leave each kind of block, but not fifty of them.
SHALLOW = {
    "nasnet": {"blocks": 1},
    "res2ne": {"depth": (1, 1, 1, 1)},
    "resne": {"depth": (1, 1, 1, 1)},
    "scnet": {"depth": (1, 1, 1, 1)},
    "se_res": {"depth": (1, 1, 1, 1)},
}


def smallest_of_each_class():
    smallest = {}
    for entry in sorted(ENTRIES.values(), key=lambda e: -e.parameters):
        smallest[entry.constructor] = entry.name
    return sorted(smallest.values())


# Exported and flattened by `make test`; the other networks are among the long tests.
EXPORTED = ("mobilenet_", "shufflenet_x", "squeezenet")


def pytest_generate_tests(metafunc):
    if "model_name" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-model")
        names = list(ENTRIES) if every else smallest_of_each_class()
        if metafunc.function in (
            test_exported_files_match_the_model,
            test_flattened_graph_outputs_match,
        ):
            names = long_unless(lambda name: name.startswith(EXPORTED), names)
        metafunc.parametrize("model_name", names)


def long_unless(is_brief, names):
    """Cases of a test, the others of which are long."""
    return [n if is_brief(n) else pytest.param(n, marks=pytest.mark.long) for n in names]


@pytest.fixture
def shallow(model_name, request):
    """Arguments that make a network small enough for every run of the tests."""
    if request.config.getoption("--every-model"):
        return {}
    return next((cut for start, cut in SHALLOW.items() if model_name.startswith(start)), {})


def build(model_name, **arguments):
    """The model at a small size, with weights like those of the golden files."""
    size = next((s for start, s in SIZES.items() if model_name.startswith(start)), 32)
    model = create_model(
        model_name, input_shape=(size, size, 3), classes=10, classifier_activation=None, **arguments
    )
    randomize_weights(model)
    return model


def predictions(model, x):
    """Outputs; on JAX of the compiled model, since it would compile every operation alone."""
    if keras.backend.backend() == "jax":
        return model.predict(x, verbose=0)
    return keras.ops.convert_to_numpy(model(x))


def images(model, count):
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, *model.input_shape[1:])).astype("float32")


@pytest.fixture
def no_values():
    """Weights get shapes but no values, which take most of the time of building a model."""
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session()  # else the next scope would give them values


def counted_here():
    """All on the backend that builds fastest: counts follow from shapes, which are Keras's."""
    brief = smallest_of_each_class()
    return long_unless(brief.__contains__, ENTRIES) if keras.backend.backend() == "torch" else brief


@pytest.mark.parametrize("name", counted_here())
def test_parameters_and_multiply_adds(name, no_values):
    entry = ENTRIES[name]
    model = entry.constructor(**entry.arguments, input_shape=entry.input_shape)
    assert model.name == name
    counted = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert counted == entry.parameters
    if entry.macs is not None:
        # The references tell four digits, or three.
        assert macs(model) == pytest.approx(entry.macs, rel=1e-3)
        assert entry.counted_macs is None
    else:
        assert macs(model) == entry.counted_macs


@pytest.mark.parametrize("name", ENTRIES)
def test_weight_sources_are_complete(name):
    for source in ENTRIES[name].sources:
        assert source.url.startswith("http")
        assert source.url.endswith((".pth", ".h5", ".safetensors"))
        assert source.parameters == ENTRIES[name].parameters
        assert source.license
        assert source.sha256 is None or source.sha256 in source.url
        assert 40 < source.top1 < 90


@pytest.mark.parametrize("name", ENTRIES)
def test_weight_sources_preprocessing_matches_preprocess_input(name):
    """The specification in a file that is exported computes as the family's function does."""
    entry = ENTRIES[name]
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), "uint8")
    for source in entry.sources:
        chosen = {"padding": source.padding, **entry.arguments, "data_format": "channels_last"}
        names = inspect.signature(entry.constructor.preprocess_input).parameters
        chosen = {name: chosen[name] for name in names if name in chosen}
        expected = entry.constructor.preprocess_input(image[None], **chosen)[0]
        np.testing.assert_allclose(source.input_spec((4, 5)).load(image), expected, atol=1e-4)


def test_registry_names_are_unique():
    assert len(ENTRIES) == len(list_models())


def test_create_model_unknown_name_raises():
    with pytest.raises(ValueError, match="There is no model 'resnet'"):
        create_model("resnet")


def test_stage_outputs_with_dilation_end_at_the_same_layers(model_name, shallow):
    """At `output_stride=8` the same layers end the stages whose strides were 16 and 32."""
    if model_name.startswith("nasnet"):
        pytest.skip("NASNet cannot be dilated")
    arguments = {"include_top": False, "input_shape": (64, 64, 3), **shallow}
    strided, dilated = (
        create_model(model_name, **arguments, output_stride=stride) for stride in (32, 8)
    )
    ends = {level: operation_of(x).name for level, x in dilated.stage_outputs.items()}
    assert ends == strided.pyramid_level_inputs
    assert strided.stage_outputs == strided.pyramid_outputs
    assert set(dilated.pyramid_outputs) <= {"P1", "P2", "P3"}


def test_flattened_graph_outputs_match(model_name, shallow):
    model = build(model_name, **shallow)
    flat = flatten(model)
    others = {
        type(layer) for layer in flat.layers if not type(layer).__module__.startswith("keras")
    }
    # On PyTorch Keras's own average is wrong at some borders.
    assert others <= ({AveragePooling2D} if keras.backend.backend() == "torch" else set())
    x = images(model, 2)
    expected, outputs = (predictions(m, x) for m in (model, flat))
    assert np.abs(outputs - expected).max() <= 1e-4 * expected.std()


@pytest.mark.long
@pytest.mark.export
@pytest.mark.filterwarnings("ignore:The int8 file is faithful only")
def test_exported_files_match_the_model(model_name, shallow, tmp_path, request):
    """int8 files pass the gates of `verify_tflite`; no tensor has five axes.

    float32 files of all blocks are tested with the layers, and of all networks by `--every-model`.

    Without the classifier: the class that an untrained network chooses hangs by a hair.
    """
    from kdl.deploy import export_tflite, read_tflite

    model = build(model_name, include_top=False, **shallow)
    every = request.config.getoption("--every-model")
    for quantization in ("float32", "int8") if every else ("int8",):
        path = tmp_path / f"{quantization}.tflite"
        proof = export_tflite(model, path, quantization, representative_data=images(model, 32))
        assert proof.passed, str(proof)
        assert read_tflite(path).largest_rank <= 4


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("MobileNetV2_a1.0", "Did you mean mobilenet_v2_a1_0"),
        ("resnet-50", "Did you mean resnet50"),
        ("shufflenetv2_x05", "Did you mean shufflenet_v2_x0_5"),
        ("transformer", "'transformer'. kdl.applications.list_models"),
        ("", "''. kdl.applications.list_models"),
    ],
)
def test_create_model_mistyped_name_gets_suggestions(name, suggestion):
    with pytest.raises(ValueError, match=suggestion):
        create_model(name)
