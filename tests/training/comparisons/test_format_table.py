from kdl.training import format_table

COLUMNS = {"network": ("name", "{}"), "million": ("macs", lambda n: f"{n / 1e6:.1f}")}


def test_first_column_is_left_others_right_and_missing_values_are_empty():
    rows = [{"name": "long name", "macs": 123_400_000}, {"name": "x"}, {"name": "y", "macs": None}]
    head, rule, *lines = format_table(rows, COLUMNS).split("\n")
    assert head == "network    million"
    assert rule == "─" * len(head)
    assert lines == ["long name    123.4", "x", "y"]


def test_title_stands_above():
    assert format_table([], COLUMNS, "Title").split("\n")[0] == "Title"


def test_wide_letters_and_marks_keep_columns_in_line():
    rows = [{"name": "猫", "macs": 1e6}, {"name": "e\u0301t", "macs": 1e6}]
    _, _, wide, marked = format_table(rows, COLUMNS).split("\n")
    assert wide == "猫           1.0"
    assert marked == "e\u0301t           1.0"
