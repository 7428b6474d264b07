import pytest

from kdl.deploy.tflite.tensor_names import input_name, legal_name, unique_names


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense_1", "dense_1"),
        ("block/conv-2.a", "block/conv-2.a"),
        ("dense 1", "dense_1"),
        ("modèle", "modele"),
        ("Größe (px)", "Groe__px_"),
        ("выход", "output"),
        ("", "output"),
        (3, "3"),
    ],
)
def test_names_are_brought_to_legal_characters(name, expected):
    assert legal_name(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("_x", "x"), ("/a//b/", "a/b"), ("a/b", "a/b"), ("größe 1", "groe_1"), ("выход", "input")],
)
def test_names_of_inputs_begin_with_a_letter_or_digit(name, expected):
    assert input_name(name) == expected


def test_names_that_differ_in_capitals_alone_may_count_as_alike():
    assert unique_names(["A", "a", "b", "a_1"], str.lower) == ["A_0", "a_2", "b", "a_1"]
