"""`tests/` mirrors `kdl/`: a test lies in the folder of the module that it is named for."""

import functools
import pathlib

import pytest

import kdl

KDL = pathlib.Path(kdl.__file__).parent
TESTS = pathlib.Path(__file__).parent
NOT_OF_A_PACKAGE = {"golden", "no_tensorflow"}


@functools.cache
def modules():
    """Dict: name without underscore → folders below `kdl/` that hold such a module or package."""
    places = {}
    packages = (path.parent for path in KDL.glob("*/**/__init__.py"))
    for path in [*KDL.rglob("*.py"), *packages]:
        places.setdefault(path.stem.lstrip("_"), set()).add(path.parent.relative_to(KDL))
    return places


def files_of_tests():
    paths = (path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
    return sorted(path for path in paths if path.parts[0] not in NOT_OF_A_PACKAGE)


@pytest.mark.parametrize("path", files_of_tests(), ids=str)
def test_file_lies_beside_its_module(path):
    assert (KDL / path.parent).is_dir()
    of_that_name = modules().get(path.stem.removeprefix("test_"), set())
    within = {place for place in of_that_name if place.parts[:1] == path.parts[:-1][:1]}
    assert not within or path.parent in within


def test_no_two_files_share_a_name():
    """pytest imports them by their names alone."""
    names = [path.name for path in files_of_tests()]
    assert sorted(set(names)) == sorted(names)
