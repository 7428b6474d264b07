"""What can't go through a file is found before anything is trained."""

import errno
import itertools
import os
import random

import keras
import numpy as np
import pytest
from stand_ins import AtOnce, blobs, mlp, stump

from kdl.ensembles import (
    AdaBoostEnsemble,
    BaggingEnsemble,
    DeepEnsemble,
    StackingEnsemble,
    VotingEnsemble,
    _member_trainer,
    _member_training,
    _model_files,
    load,
)


class Unregistered(keras.layers.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable("kdl_tests")
class Forgetful(keras.layers.Layer):
    """Its configuration lacks an argument."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return super().get_config()


@keras.saving.register_keras_serializable("kdl_tests")
class Subclassed(keras.Model):
    """A model that has no graph."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units, "softmax")

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def unregistered_loss(y, p):
    return keras.losses.sparse_categorical_crossentropy(y, p)


def half(x):
    return x / 2


def with_layer(make, loss="sparse_categorical_crossentropy"):
    """A `build` with one more layer, inside a model inside the model."""

    def build(input_shape, outputs):
        inputs = keras.Input(input_shape)
        inner = keras.Sequential([keras.Input(input_shape), make()])
        x = keras.layers.Flatten()(inner(inputs))
        model = keras.Model(inputs, keras.layers.Dense(outputs, "softmax")(x))
        model.compile("sgd", loss)
        return model

    return build


def template(loss):
    return with_layer(keras.layers.Flatten, loss)((4,), 3)


BAD = {
    "lambda": (
        with_layer(lambda: keras.layers.Lambda(lambda x: 2 * x, name="odd")),
        r"Layer 'odd' \(Lambda\) of member 0 of .*Ensemble can't be written .* nothing was trained",
    ),
    "function of a Lambda": (
        with_layer(lambda: keras.layers.Lambda(half, name="odd")),
        r"Layer 'odd' \(Lambda\) of member 0",
    ),
    "unregistered layer": (
        with_layer(lambda: Unregistered(name="odd")),
        r"Layer 'odd' \(Unregistered\) of member 0 .*Could not locate class 'Unregistered'\. "
        r"Decorate its class .*@keras\.saving\.register_keras_serializable\(\)",
    ),
    "configuration": (
        with_layer(lambda: Forgetful(2, name="odd")),
        r"Layer 'odd' \(Forgetful\) of member 0 .*let get_config return all arguments",
    ),
    "template": (
        with_layer(lambda: Unregistered(name="odd"))((4,), 3),
        r"Layer 'odd' \(Unregistered\) of build can't be written",
    ),
    "loss of a template": (
        template(unregistered_loss),
        r"What .* is compiled with .*Could not locate function 'unregistered_loss'",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("road", ["here", "directory", "executor", "both"])
def test_unserializable_member_raises_before_training(name, road, trainings, tmp_path):
    build, message = BAD[name]
    where = {} if road in ("here", "executor") else {"directory": tmp_path / "kept"}
    where |= {} if road in ("here", "directory") else {"executor": AtOnce()}
    ensemble = BaggingEnsemble(build, 2)
    with pytest.raises(ValueError, match=message):
        ensemble.fit(*blobs(count=30), **where)
    assert trainings == []
    assert not hasattr(ensemble, "members_")
    # Nothing half-written is in the way of the next try.
    assert not where.get("directory") or os.listdir(tmp_path / "kept") == []
    if "directory" in where:
        BaggingEnsemble(stump, 1).fit(*blobs(count=30), **where)


def test_every_build_has_a_dry_run(trainings):
    members = [("good", stump), ("odd", BAD["lambda"][0])]
    for kind in (VotingEnsemble, StackingEnsemble):
        with pytest.raises(ValueError, match="of member 'odd' of"):
            kind(members).fit(*blobs(count=30))
    with pytest.raises(ValueError, match="'odd'"):
        AdaBoostEnsemble(BAD["lambda"][0]).fit(*blobs(count=30))
    assert trainings == []


def test_file_unreadable_in_this_process_raises_before_training(trainings, monkeypatch):
    """It was written elsewhere, where a class is known that this process does not know."""
    monkeypatch.setattr(_member_training, "dry_run", lambda job: b"PK")
    with pytest.raises(ValueError, match="The model built for member 0 of BaggingEnsemble can't"):
        BaggingEnsemble(stump, 2).fit(*blobs(count=30), executor=AtOnce())
    assert trainings == []


def test_full_disk_is_reported_as_such(trainings, monkeypatch):
    """It is told as what it is."""

    def full(model):
        raise OSError(errno.ENOSPC, "the disk has 0 MiB left")

    monkeypatch.setattr(_model_files, "write_model", full)
    with pytest.raises(RuntimeError, match=r"member 0 of .*the disk has 0 MiB left"):
        BaggingEnsemble(stump, 2).fit(*blobs(count=30))
    assert trainings == []


def test_unregistered_loss_of_a_function_is_allowed():
    build = with_layer(keras.layers.Flatten, unregistered_loss)
    assert len(DeepEnsemble(build, 1).fit(*blobs(count=30)).members_) == 1


def test_dry_run_costs_one_build(tmp_path, monkeypatch):
    x, y = blobs(count=30)
    calls = itertools.count()

    def build(input_shape, outputs):
        next(calls)
        return mlp(input_shape, outputs)

    AdaBoostEnsemble(build, 2, algorithm="SAMME.R").fit(x, y)
    assert next(calls) == 2 + 1
    calls = itertools.count()
    members = [("a", build), ("b", build)]
    StackingEnsemble(members, cv=2).fit(x, y, directory=tmp_path)
    assert next(calls) == 2 * 3 + 1
    monkeypatch.setattr(_member_training, "dry_run", None)  # what is finished is only read
    StackingEnsemble(members, cv=2).fit(x, y, directory=tmp_path)
    assert next(calls) == 2 * 3 + 2


def dropping(input_shape, outputs):
    """A model that draws random numbers in each step."""
    layers = [keras.layers.Dense(4), keras.layers.Dropout(0.5)]
    layers = [keras.Input(input_shape), *layers, keras.layers.Dense(outputs, "softmax")]
    model = keras.Sequential(layers)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.every_backend
def test_dry_run_changes_no_random_numbers(monkeypatch):
    """Weights to the bit; and the random numbers of the program go on as if nothing had been."""
    x, y = blobs(count=30)
    arguments = {"epochs": 2, "batch_size": 8}
    random.seed(1)
    np.random.seed(2)
    expected = random.Random(1).random(), np.random.RandomState(2).rand()
    results = DeepEnsemble(dropping, 1, arguments).fit(x, y)
    assert (random.random(), np.random.rand()) == expected
    monkeypatch.setattr(_member_trainer.MemberTrainer, "_dry_run", lambda self, jobs: None)
    before = DeepEnsemble(dropping, 1, arguments).fit(x, y)
    pairs = zip(results.members_[0].get_weights(), before.members_[0].get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def unbuilt(input_shape, outputs):
    model = keras.Sequential([keras.layers.Dense(outputs, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def subclassed(input_shape, outputs):
    model = Subclassed(outputs)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def subclassed_and_built(input_shape, outputs):
    model = subclassed(input_shape, outputs)
    model(np.zeros((1, *input_shape)))
    return model


@pytest.mark.parametrize("build", [unbuilt, subclassed, subclassed_and_built])
def test_models_without_a_graph_are_saved_and_loaded(build, tmp_path):
    x, y = blobs(count=30)
    ensemble = DeepEnsemble(build, 1).fit(x, y, directory=tmp_path)
    expected = ensemble.predict_proba(x)
    assert (load(tmp_path).predict_proba(x) == expected).all()
    results = keras.ops.convert_to_numpy(ensemble.to_keras()(x))
    assert results == pytest.approx(expected, abs=1e-6)
    with pytest.raises(RuntimeError, match=r"outputs of shape \(batch, 3\).*they have \(1, 5\)"):
        DeepEnsemble(lambda shape, outputs: build(shape, 5), 1).fit(x, y)
