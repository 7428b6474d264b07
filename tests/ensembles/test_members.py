import multiprocessing
import os
import random
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from functools import partial

import keras
import numpy as np
import pytest
from stand_ins import AtOnce, blobs, mlp, mlp_that_is_killed_once, plain_mlp, stump

from kdl.ensembles import BaggingEnsemble, VotingEnsemble, _member_training, _recipe
from kdl.ensembles._keras_state import keras_settings
from kdl.ensembles._processes import as_executor, environment

pytestmark = pytest.mark.every_backend

TORCH = keras.backend.backend() == "torch"
once = pytest.mark.skipif(not TORCH, reason="on the backend that starts fastest")


@pytest.fixture(autouse=True)
def _same_numbers_in_all_processes(monkeypatch):
    """The conftest at the root lets NumPy draw first weights, in this process alone."""
    if keras.backend.backend() == "jax":
        import jax

        for name in ("normal", "truncated_normal", "uniform"):
            monkeypatch.setattr(jax.random, name, getattr(jax.random, name).__wrapped__)


@pytest.fixture(scope="module")
def processes():
    """A pool of one process, since each start takes seconds."""
    with as_executor(1, keras.backend.backend()) as executor:
        yield executor


class Announced(keras.callbacks.Callback):
    """Makes a file when training begins."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_train_begin(self, logs=None):
        open(self.path, "w").close()


class Unregistered(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def doubling(layer):
    """A `build` that travels as it is, with what it holds."""

    def build(input_shape, outputs):
        inputs = keras.Input(input_shape)
        model = keras.Model(inputs, keras.layers.Dense(outputs, "softmax")(layer()(inputs)))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    return build


@pytest.mark.long
def test_unserializable_member_in_process_raises_before_training(processes, tmp_path):
    x, y = blobs(count=30)
    announced = {"callbacks": [Announced(str(tmp_path / "training"))]}
    ensemble = BaggingEnsemble(doubling(Unregistered), 2, announced)
    with pytest.raises(ValueError, match=r"\(Unregistered\) of member 0 of .*nothing was trained"):
        ensemble.fit(x, y, executor=processes, directory=tmp_path / "kept")
    assert os.listdir(tmp_path) == ["kept"]
    assert os.listdir(tmp_path / "kept") == []


@pytest.mark.long
def test_classes_registered_by_main_script_reach_processes(processes):
    """Other processes get its classes as they are, and would not know that they were registered."""

    class Doubling(keras.layers.Layer):
        __module__ = "__main__"

        def call(self, x):
            return 2 * x

    keras.saving.register_keras_serializable("kdl_tests")(Doubling)
    x, y = blobs(count=30)
    try:
        ensemble = BaggingEnsemble(doubling(Doubling), 1).fit(x, y, executor=processes)
        assert type(ensemble.members_[0].layers[1]) is Doubling
        template = doubling(Doubling)((4,), 3)
        BaggingEnsemble(template, 1).fit(x, y, executor=processes)
    finally:
        del keras.saving.get_custom_objects()["kdl_tests>Doubling"]


def test_killed_process_leaves_finished_members(processes, tmp_path):
    """A process is killed; what is finished stays, and the same call trains the rest alone.

    In the end all is as if it had been trained here. The first member built is only tried out.
    The pool is of no use after this.
    """
    x, y = blobs(count=30)
    (tmp_path / "builds").mkdir()
    build = partial(mlp_that_is_killed_once, folder=str(tmp_path / "builds"), count=2)
    ensemble = BaggingEnsemble(build, 3)
    message = (
        "Not trained: member 1 .*member 2 .*; a process that trained was ended.*call fit again"
    )
    with pytest.raises(RuntimeError, match=message):
        ensemble.fit(x, y, executor=processes, directory=tmp_path / "kept")
    assert len(os.listdir(tmp_path / "builds")) == 3
    ensemble.fit(x, y, directory=tmp_path / "kept")
    assert len(os.listdir(tmp_path / "builds")) == 6
    expected = BaggingEnsemble(mlp, 3).fit(x, y).predict_proba(x)
    assert (ensemble.predict_proba(x) == expected).all()


@pytest.mark.long
@once
def test_killed_program_leaves_finished_members(tmp_path):
    """The process that calls `fit` is killed; this one trains what is missing."""
    (tmp_path / "builds").mkdir()
    builds, kept = str(tmp_path / "builds"), str(tmp_path / "kept")
    with (
        as_executor(1, keras.backend.backend()) as executor,
        pytest.raises(BrokenExecutor),
    ):
        executor.submit(fit_and_be_killed, builds, kept).result()
    build = partial(mlp_that_is_killed_once, folder=builds, count=2)
    BaggingEnsemble(build, 2).fit(*blobs(count=30), directory=kept)
    assert len(os.listdir(builds)) == 3 + 2


def fit_and_be_killed(builds, kept):
    build = partial(mlp_that_is_killed_once, folder=builds, count=2)
    BaggingEnsemble(build, 2).fit(*blobs(count=30), directory=kept)


def test_threads_train_with_settings_of_the_caller():
    """Threads of one process wait for each other: their random numbers are the process's."""
    x, y = blobs(count=30)
    expected = BaggingEnsemble(plain_mlp, 2).fit(x, y).predict_proba(x)
    policy = keras.config.dtype_policy()
    with ThreadPoolExecutor(2) as executor:
        results = BaggingEnsemble(plain_mlp, 2).fit(x, y, executor=executor).predict_proba(x)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            low = BaggingEnsemble(stump, 1).fit(x, y, executor=executor)
        finally:
            keras.config.set_dtype_policy(policy)
    assert (results == expected).all()
    assert low.members_[0].layers[-1].compute_dtype == "bfloat16"


@pytest.mark.long
@once
def test_dask_cluster_trains_same_members():
    distributed = pytest.importorskip("distributed")
    x, y = blobs(count=30)
    expected = BaggingEnsemble(mlp, 2).fit(x, y).predict_proba(x)
    settings = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        ensemble = BaggingEnsemble(mlp, 2).fit(x, y, executor=client.get_executor())
        odd = BaggingEnsemble(lambda shape, outputs: None, 2)
        with pytest.raises(RuntimeError, match=r"training of member . of BaggingEnsemble failed"):
            odd.fit(x, y, executor=client.get_executor())
    assert (ensemble.predict_proba(x) == expected).all()


def test_random_numbers_of_other_threads_change_no_member():
    """Threads of a cluster's worker use Python's generator at any moment."""
    x, y = blobs(count=30)
    expected = BaggingEnsemble(mlp, 1).fit(x, y).predict_proba(x)

    def build(input_shape, outputs):
        with ThreadPoolExecutor(1) as other:
            other.submit(random.random).result()
            other.submit(random.randint, 0, 9).result()
        return mlp(input_shape, outputs)

    assert (BaggingEnsemble(build, 1).fit(x, y).predict_proba(x) == expected).all()


def test_any_executor_trains_same_members_with_a_bar(capsys):
    x, y = blobs(count=30)
    members = [("a", stump), ("b", mlp)]
    ensemble = VotingEnsemble(members).fit(x, y, executor=AtOnce(), verbose=1)
    expected = VotingEnsemble(members).fit(x, y)
    assert (ensemble.predict_proba(x) == expected.predict_proba(x)).all()
    out = capsys.readouterr().out
    assert "2/2" in out
    assert "member" in out


def test_error_of_one_member_keeps_the_others(tmp_path):
    """The first error is told; members that were trained beside it are kept."""
    x, y = blobs(count=30)
    members = [("a", stump, {"epochs": 1}), ("b", stump)]  # stumps know no epochs
    message = "training of member 'a' of VotingEnsemble failed: TypeError"
    with pytest.raises(RuntimeError, match=message):
        VotingEnsemble(members).fit(x, y, executor=AtOnce(), directory=tmp_path)
    assert len(list(tmp_path.glob("member-1-*.keras"))) == 1


def test_error_of_executor_names_untrained_members():
    class Broken(Executor):
        def submit(self, function, *args):
            future = Future()
            future.set_exception(ConnectionError("the cluster is away"))
            return future

    message = "Not trained: member 0 .*ConnectionError: the cluster is away.*Pass directory="
    with pytest.raises(RuntimeError, match=message):
        BaggingEnsemble(stump, 1).fit(*blobs(count=30), executor=Broken())


@once
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_executor_of_forks_raises():
    """In a fork backends may hang without a word."""
    context = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(1, mp_context=context) as executor,
        pytest.raises(RuntimeError, match="fork of one that has loaded Keras"),
    ):
        BaggingEnsemble(stump, 1).fit(*blobs(count=30), executor=executor)


def test_process_of_another_backend_raises():
    job = _job(stump, settings={**keras_settings(), "backend": "mxnet"})
    with pytest.raises(_member_training.MemberError, match="Start it with KERAS_BACKEND=mxnet"):
        _member_training.train(job)


def test_packed_recipes_train():
    """Functions of modules by name, all others as they are."""
    for build in (stump, partial(mlp, units=3), lambda shape, outputs: mlp(shape, outputs)):
        packed = _recipe.Recipe(build, {}).packed()
        assert b"cloudpickle" in packed or build.__class__ is partial or build is stump
        assert _member_training.train(_job(packed)) is not None


def test_unpicklable_recipe_without_cloudpickle_raises(monkeypatch):
    monkeypatch.setattr(_recipe.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="can't be sent to another process"):
        _recipe.Recipe(lambda shape, outputs: None, {}).packed()


def _job(recipe, **changes):
    x, y = blobs(count=30)
    if not isinstance(recipe, bytes):
        recipe = _recipe.Recipe(recipe, {})
    fields = {"samples": None, "weights": None, "outputs": 3, "settings": keras_settings()}
    y = np.unique(y, return_inverse=True)[1]
    return _member_training.Job("member", "0", 0, recipe, x, y, **{**fields, **changes})


def test_environment_of_processes_shares_the_cores(monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    results = environment(cores, "jax")
    assert results["MKL_NUM_THREADS"] == "1"
    assert results["OMP_NUM_THREADS"] == "7"  # the user's word
    assert results["KERAS_BACKEND"] == "jax"
    assert environment(1, "torch")["MKL_NUM_THREADS"] == str(cores)


def test_started_processes_have_the_variables(monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with as_executor(64, "torch") as executor:
        assert executor.submit(os.getenv, "MKL_NUM_THREADS").result() == "1"
        assert executor.submit(os.getenv, "KERAS_BACKEND").result() == "torch"
    assert "MKL_NUM_THREADS" not in os.environ
