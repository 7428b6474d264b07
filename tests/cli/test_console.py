import json

import pytest
from rich.console import Console

from kdl.cli import console


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe 猫 🐶 [bold]", "größe 猫 🐶 [bold]"),
        ("a\x1b[31m", r"a\x1b[31m"),
        ("\x9b31m\x07\r\x00\x7f", r"\x9b31m\x07\r\x00\x7f"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\u2028\u2029\u202e\u2066\u200f", r"\u2028\u2029\u202e\u2066\u200f"),
        ("\udc80", r"\udc80"),
        (3.5, "3.5"),
    ],
)
def test_printable_text_obeys_nothing(text, shown):
    assert console.printable(text) == shown


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 80 columns that keeps what it is sent."""
    import io

    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr(console, "out", screen)
    return stream


NAME = "shufflenet_x1_0_g1_of_the_authors"
ROWS = [[NAME, "3,504,872", "BSD-3-Clause (torchvision), since 2020"]]
COLUMNS = {"name": "name", "parameters": "number", "license of the weights": "text"}


def test_a_table_on_a_terminal_folds_texts_and_cuts_nothing(terminal):
    console.table(COLUMNS, ROWS)
    text = terminal.getvalue()
    assert NAME in text
    assert "3,504,872" in text
    assert "…" not in text
    for word in ROWS[0][2].split():
        assert word in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_table_on_a_terminal_shows_no_markup_and_no_emoji_code(terminal):
    console.table({"class": "text"}, [["[bold]x"], [":dog:"], ["[/close]"], ["\x1b[31m"]])
    for text in ("[bold]x", ":dog:", "[/close]", r"\x1b[31m"):
        assert text in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()


def test_a_table_in_a_pipe_is_lines_of_any_length(capsys):
    console.table(COLUMNS, [["x" * 300, "1", "y z"]])
    assert capsys.readouterr().out == f"{chr(9).join(COLUMNS)}\n{'x' * 300}\t1\ty z\n"


def test_warnings_and_errors_are_one_line(capsys):
    console.show_warning("two\n lines [bold]", UserWarning, "f", 1)
    console.error("verification_data\x1b[31m " + "x" * 200)
    assert capsys.readouterr().err == (
        "warning: two lines [bold]\nerror: --data\\x1b[31m " + "x" * 200 + "\n"
    )


def test_long_work_is_announced_beside_the_output(capsys):
    with console.working("Converting [x]"):
        console.say("done")
    seen = capsys.readouterr()
    assert seen.err == "Converting [x] …\n"
    assert seen.out == "done\n"


def test_json_has_no_numbers_of_its_own(capsys):
    console.say_json({"scores": [1.5, float("nan"), (float("inf"), "\x9b")]})
    assert json.loads(capsys.readouterr().out) == {"scores": [1.5, None, [None, "\x9b"]]}
