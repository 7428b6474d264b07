"""What the tests and the examples in docstrings share."""

import sys

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Gives a test and its fixtures the same random numbers in every run, whatever ran before."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _shared_converter():
    """One TensorFlow process for all exports of a test process: each start takes seconds.

    It is here, not in `tests`, for the examples in docstrings too.
    """
    from kdl.deploy import warm_converter

    with warm_converter():
        yield
