import inspect
import pathlib
import re
import sys
import time

import keras
import numpy as np
import pytest

import kdl
from kdl.training import distribute, launch
from kdl.training.callbacks.backup import read_history

HERE = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(HERE))

import killed_job  # noqa: E402
import loss_cases  # noqa: E402
import two_devices  # noqa: E402

BACKENDS = {"tensorflow": 0, "jax": 1, "torch": 2}
BACKEND = keras.backend.backend()
PROCESSES = 2 if BACKEND == "torch" else 1

# As the README names them → as the program does.
ROWS = {
    "`keras.layers.BatchNormalization`": "batch",
    "`SyncBatchNormalization`": "synchronized batch",
    "`SwitchableNormalization()`": "switchable",
    "`SwitchableNormalization(synchronized=True)`": "synchronized switchable",
    "`MovingAverageBatchNormalization(synchronized=True)`": "moving average",
}


def run(script, *arguments):
    launch([sys.executable, str(HERE / script), *map(str, arguments)], PROCESSES)


@pytest.fixture(scope="module")
def losses():
    """Cases of all losses of the library."""
    return loss_cases.cases()


@pytest.fixture(scope="module")
def trained(once_a_run):
    """What two devices trained, from one start of them."""
    found = np.load(once_a_run("two_devices.npz", lambda path: run("two_devices.py", path)))
    assert found["count"] == 2
    return found


def as_one(trained, kind, expected):
    """Whether two devices found `expected`: arrays, of changes as exactly as of losses."""
    arrays = [np.asarray(array) for array in expected]
    return all(
        np.allclose(trained[f"{kind}/{i}"], array, rtol=1e-5, atol=1e-5 * np.abs(array).max())
        for i, array in enumerate(arrays)
    )


@pytest.fixture(scope="module")
def equal(trained):
    """Dict: kind of norm → whether two devices trained it as one did."""
    return {kind: as_one(trained, kind, two_devices.train(kind)) for kind in two_devices.NORMS}


@pytest.mark.long_to_compile
@pytest.mark.every_backend
def test_two_devices_train_like_one(equal):
    """Ten steps with momentum; on TensorFlow and PyTorch a plain norm shows that this can fail."""
    plain = BACKEND == "jax"
    assert equal == {
        "batch": plain,
        "synchronized batch": True,
        two_devices.SUMMED: True,
        "switchable": plain,
        "synchronized switchable": True,
        "l2": True,
        "moving average": True,
    }


def test_every_norm_is_among_the_cases():
    norms = {name for name in dir(kdl.layers) if name.endswith("Normalization")}
    assert norms == {type(make()).__name__ for make in two_devices.NORMS.values()}


@pytest.mark.long_to_compile
@pytest.mark.every_backend
def test_two_devices_train_losses_like_one(trained, losses):
    """Update and reported loss of each, its defaults, its sum and its arguments turned round."""
    one = loss_cases.train(losses)
    assert all(np.abs(update).max() > 0 for update, _ in one.values())
    assert [kind for kind in one if not as_one(trained, kind, one[kind])] == []


@pytest.mark.long
@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="only JAX maps over a named axis")
def test_mapped_devices_have_the_loss_of_one(trained, losses):
    one = loss_cases.whole(loss_cases.of_whole_batches(losses))
    assert [kind for kind in one if not as_one(trained, f"{kind}, mapped", one[kind])] == []


@pytest.mark.long_to_compile
@pytest.mark.every_backend
def test_two_devices_train_wrappers_like_one(trained):
    kinds = two_devices.WRAPPERS
    one = {kind: two_devices.train_wrapped(kind) for kind in kinds}
    assert [kind for kind in kinds if not as_one(trained, kind, one[kind])] == []


def test_every_wrapper_is_among_the_cases():
    models = {
        name
        for name, cls in inspect.getmembers(kdl.compression, inspect.isclass)
        if issubclass(cls, keras.Model)
    }
    assert models <= set(two_devices.WRAPPERS)


@pytest.mark.long_to_compile
def test_readme_names_the_tested_layers(equal, root):
    text = (root / "README.md").read_text()
    for name, kind in ROWS.items():
        [row] = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", text, re.MULTILINE)
        told = [cell.strip() for cell in row.split("|")][BACKENDS[BACKEND]]
        assert told == ("yes" if equal[kind] else "no"), name


@pytest.mark.long
def test_killed_worker_ends_job_which_resumes(tmp_path):
    """And ends with the weights of one device that nobody disturbed."""
    start = time.monotonic()
    name = "SIGKILL; the others were ended, too.$"
    with pytest.raises(RuntimeError, match=f"Process {PROCESSES - 1} .* was ended by {name}"):
        run("killed_job.py", tmp_path, 2)
    assert time.monotonic() - start < 60  # the start of the processes included
    assert len(read_history(tmp_path / "history.csv")) == 2
    run("killed_job.py", tmp_path, 99)
    history = read_history(tmp_path / "history.csv")
    (tmp_path / "alone").mkdir()
    weights = killed_job.train(tmp_path / "alone")
    expected = read_history(tmp_path / "alone" / "history.csv")
    found = np.load(tmp_path / "weights.npz")
    for key, weight in zip(found.files, weights, strict=True):
        np.testing.assert_allclose(found[key], weight, atol=1e-5)
    for row, other in zip(history, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-4)


def test_one_device_changes_nothing():
    before = keras.Model.fit
    with distribute() as count:
        assert count == 1
        assert keras.Model.fit is before


def test_more_devices_than_available_raise():
    with pytest.raises(ValueError, match="devices=7, but"), distribute(7):
        pass


@pytest.mark.long
@pytest.mark.skipif(BACKEND != "torch", reason="elsewhere one process leads all devices")
def test_processes_stop_together_and_have_as_many_batches(tmp_path):
    run("stopped_job.py", tmp_path)
    for number in range(2):
        steps, said = (tmp_path / str(number)).read_text().split("\n")
        # Of eight, of the loader's three; half of all samples, also in a context within another.
        assert steps == "2 3 [16.0, 16.0]"
        assert f"this process has {3 + number} batches" in said


TWICE = """
import keras, numpy as np
from kdl.training import distribute
for part in range(3):
    with distribute(2) as devices:
        assert devices == 2
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        model.fit(np.ones((8, 2)), np.ones(8), batch_size=4, verbose=0)
"""


@pytest.mark.long
def test_second_fit_of_a_job_trains():
    """Such as training and fine-tuning, in one script."""
    launch([sys.executable, "-c", TWICE], PROCESSES)
