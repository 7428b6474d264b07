import pytest

from kdl._words import unique_names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["d", "d"], ["d_0", "d_1"]),
        (["d", "d", "d_0"], ["d_1", "d_2", "d_0"]),
        (["d_1", "d", "d"], ["d_1", "d_0", "d_2"]),
        (["a", "b", "a", "b"], ["a_0", "b_0", "a_1", "b_1"]),
        (["a_0", "a_0", "a", "a"], ["a_0_0", "a_0_1", "a_1", "a_2"]),
        ([], []),
    ],
)
def test_names_that_repeat_are_numbered(names, expected):
    assert unique_names(names) == expected
    assert len(set(expected)) == len(names)


def test_names_that_differ_in_capitals_alone_may_count_as_alike():
    assert unique_names(["A", "a", "b", "a_1"], str.lower) == ["A_0", "a_2", "b", "a_1"]
