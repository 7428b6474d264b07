import pytest

from kdl.ensembles import _member_training
from kdl.ensembles._member_trainer import MemberTrainer


@pytest.fixture
def no_dry_run(monkeypatch):
    """Members are trained without a dry run, which is half of the time of small ones.

    `test_dry_run.py` and the tests of files and processes do without this fixture.
    """
    monkeypatch.setattr(MemberTrainer, "_dry_run", lambda self, jobs: None)


@pytest.fixture
def trainings(monkeypatch):
    """Names of the members whose training began."""
    names, train = [], _member_training.train

    def count(job):
        names.append(job.name)
        return train(job)

    monkeypatch.setattr(_member_training, "train", count)
    return names
