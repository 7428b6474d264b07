"""Every function that copies a model, with layers that are easily copied wrong."""

import keras
import numpy as np
import pytest
import strange_models as strange

from kdl.compression import (
    Distillation,
    calibrate,
    flatten,
    fold_batch_norm,
    prune,
    quantize_aware,
    strip,
)
from kdl.deploy import rewrite_for
from kdl.deploy.exporting.precision import as_float32
from kdl.ensembles import _graph as ensembles
from kdl.graph import copy_model
from kdl.layers import convert_sync_batch_norm
from kdl.training import save_portable


def pruned(model):
    return strip(prune(model, None))


def student(model):
    x = keras.Input((8, 8, 3))
    teacher = keras.Model(x, keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x)))
    return copy_model(Distillation(model, teacher, from_logits=True)).student


def members(model):
    x = keras.Input((8, 8, 3))
    outputs = ensembles.members([model, model], x)
    return keras.Model(x, keras.layers.Average()(outputs))


def rewritten(target):
    return lambda model: rewrite_for(model, target)[0]


COPIES = {
    "copy_model": copy_model,
    "flatten": flatten,
    "fold_batch_norm": fold_batch_norm,
    "prune": pruned,
    "distill": student,
    "ensemble": members,
    "sync": lambda model: convert_sync_batch_norm(copy_model(model)),
    "gpu": rewritten("gpu"),
    "edgetpu": rewritten("edgetpu"),
    "cpu": rewritten("cpu"),
}

# What cannot be copied, and what its error names.
REFUSED = {
    ("distill", "dict of outputs"): "must have one output, a tensor",
    ("prune", "adapters"): r"has adapters \(LoRA\)",
    ("prune", "quantized"): "Prune the model before",
}

# A convolution in the place of a dense layer: CPUs without bfloat16 add it up in another order.
ROUNDED = {("edgetpu", "two precisions"): 2**-8}

# A member of an ensemble has one output.
LEFT_OUT = {("ensemble", "dict of outputs")}


def outputs_of(model, images):
    structure = keras.tree.pack_sequence_as(model.input, [images])
    outputs = keras.tree.flatten(model(structure, training=False))
    return [keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")) for x in outputs]


def check_equal(copy, model, share=1e-5):
    """Outputs are equal within a share of their spread."""
    images = strange.images()
    pairs = zip(outputs_of(copy, images), outputs_of(model, images), strict=True)
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=0, atol=share * np.ptp(expected))


def named(names):
    """Names of models, of which one has a layer for which Keras itself needs TensorFlow."""
    mark = pytest.mark.tensorflow
    return [pytest.param(name, marks=mark if name == "binned" else ()) for name in names]


@pytest.mark.every_backend
@pytest.mark.parametrize("name", named(strange.MODELS))
def test_copy_of_a_strange_model_gives_its_outputs(name):
    """What all others are made by, on the other backends too."""
    model = strange.make(name)
    check_equal(copy_model(model), model)


@pytest.mark.parametrize("name", named(strange.MODELS))
def test_every_copy_of_a_strange_model_gives_its_outputs(name):
    model = strange.make(name)
    before = model.get_weights()
    wrong = {}
    for kind, copy in COPIES.items():
        if (kind, name) in LEFT_OUT:
            continue
        if (kind, name) in REFUSED:
            with pytest.raises(ValueError, match=REFUSED[kind, name]):
                copy(model)
            continue
        try:
            check_equal(copy(model), model, ROUNDED.get((kind, name), 1e-5))
        except Exception as error:
            wrong[kind] = f"{type(error).__name__}: {str(error)[:1500]}"
    assert not wrong, "\n".join(f"{k}: {v}" for k, v in wrong.items())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", named(strange.MODELS))
def test_calibrated_strange_model_gives_nearly_its_outputs(name):
    model = strange.make(name)
    data = keras.tree.pack_sequence_as(model.input, [strange.images()])
    quantized, _ = calibrate(model, data, verbose=0)
    check_equal(quantized, model, share=0.25)


def test_batch_norms_that_stay_live_are_copied():
    model = strange.make("frozen norm")
    quantized, _ = quantize_aware(model, strange.images(), batch_norm="live", verbose=0)
    check_equal(quantized, model, share=0.1)
    norms = [x for x in quantized.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert [norm.trainable for norm in norms] == [False]


@pytest.fixture
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", named(sorted({*strange.MODELS} - {"two precisions"})))
def test_float32_copy_of_a_mixed_precision_model(name, mixed_precision):
    copy = as_float32(strange.make(name))
    keras.config.set_dtype_policy("float32")
    check_equal(copy, strange.make(name))


# What Keras can read back: no code of functions, no class whose config is not whole, that has a
# name of Keras's or writes other weights than it has, and no layer that is shared between models.
READABLE = sorted(
    {*strange.MODELS}
    - {"automatic config", "forgetful config", "functions", "lambda", "late attribute"}
    - {"private state"}
    - {"called like Keras", "computed file"}
    - {"same names", "shared with nested", "wrapped"}
)


@pytest.mark.parametrize("name", named(READABLE))
def test_portable_file_of_a_strange_model_gives_its_outputs(name, tmp_path):
    model = strange.make(name)
    save_portable(model, tmp_path / "model.keras")
    known = {"Scale": strange.Scale, "OwnModel": strange.OwnModel}
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects=known)
    check_equal(loaded, model)
