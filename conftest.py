"""What the tests and the examples in docstrings share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _shared_converter():
    """One TensorFlow process for all exports of a test process: each start takes seconds.

    It is here, not in `tests`, for the examples in docstrings too.
    """
    from kdl.deploy import warm_converter

    with warm_converter():
        yield
