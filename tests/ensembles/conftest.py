import pytest

from kdl.ensembles import _worker
from kdl.ensembles._members import Members


@pytest.fixture
def untried(monkeypatch):
    """Members are not tried out before they are trained, which is half of the time of small ones.

    `test_try_out.py` and what is about files and processes does without this fixture.
    """
    monkeypatch.setattr(Members, "_try_out", lambda self, jobs: None)


@pytest.fixture
def trainings(monkeypatch):
    """Names of the members whose training began."""
    names, train = [], _worker.train

    def count(job):
        names.append(job.name)
        return train(job)

    monkeypatch.setattr(_worker, "train", count)
    return names
