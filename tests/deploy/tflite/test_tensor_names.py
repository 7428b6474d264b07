import pytest

from kdl.deploy.tflite.tensor_names import input_name, kind_by_name, legal_name, scope_name


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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bbox_p3", "boxes"),
        ("Class_Scores", "scores"),
        ("box_scores", "scores"),
        ("inbox_prob", "scores"),
        ("class_box", "boxes"),
        ("detection_boxes", "boxes"),
        ("hidden_state", "features"),
        ("dense_1", None),
    ],
)
def test_kinds_of_outputs_are_told_by_names(name, kind):
    assert kind_by_name(name) == kind


@pytest.mark.parametrize(
    ("name", "expected"), [("_a", "a"), ("--b.c", "b.c"), (".d", ".d"), ("9", "9"), ("__", "layer")]
)
def test_names_of_scopes_begin_with_a_letter_digit_or_dot(name, expected):
    assert scope_name(name) == expected
