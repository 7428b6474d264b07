import pytest

from kdl.ensembles._members import Members


@pytest.fixture
def untried(monkeypatch):
    """Members are not tried out before they are trained, which is half of the time of small ones.

    `test_try_out.py` and what is about files and processes does without this fixture.
    """
    monkeypatch.setattr(Members, "_try_out", lambda self, jobs: None)
