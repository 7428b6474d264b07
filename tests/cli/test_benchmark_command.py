import json
import re

import pytest
from cli.command_line import kdl_here


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """Two files and one that is none."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "text.tflite").write_text("no model, whatever its name says")
    files = root / "saved_models" / "quickstart"
    return folder, kdl_here(
        "benchmark",
        *(files / "int8.tflite", folder / "text.tflite", files / "float32.tflite"),
        *("--runs", "5", "--profile", "--plot", folder / "plot.png"),
    )


def test_files_that_can_be_measured_are_told_beside_the_errors(done):
    folder, result = done
    assert result.returncode == 1
    assert "text.tflite is not a TFLite model" in result.stderr
    for name in ("int8", "float32"):
        [times] = re.findall(rf"^{name}\.tflite\t([\d.\t]+)$", result.stdout, re.MULTILINE)
        assert len(times.split("\t")) == 4
        [sizes] = re.findall(rf"^{name}\.tflite\t{name}\t([\d.\t]+)$", result.stdout, re.MULTILINE)
        assert len(sizes.split("\t")) == 3
    assert (folder / "plot.png").stat().st_size > 5000


def test_headings_name_their_units(done):
    lines = done[1].stdout.splitlines()
    headings = [line.split("\t") for line in lines if line.startswith("file\t")]
    assert [all(re.search(r"(ms|MiB|KiB|kind)$", h) for h in row[1:]) for row in headings] == [
        True,
        True,
    ]


def test_a_profile_says_what_it_cannot_show(done):
    out = done[1].stdout
    assert "DWConv" in out
    assert "whole µs" in out
    [rest, _] = re.findall(r"^\(cut off, and between operations\)\t\t(.+)\t", out, re.MULTILINE)
    assert re.fullmatch(r"< 0\.001|\d+\.\d{3}", rest)
    assert "\t0.000\t" not in out


def test_json(artifacts):
    result = kdl_here("benchmark", artifacts / "int8.tflite", "--runs", "3", "--json")
    [measured] = json.loads(result.stdout)
    assert (result.returncode, len(measured["times"])) == (0, 3)


def test_a_plot_without_a_folder_is_refused_before_anything_is_measured(artifacts, tmp_path):
    path = tmp_path / "missing" / "plot.png"
    result = kdl_here("benchmark", artifacts / "int8.tflite", "--plot", path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "does not exist" in result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [("int8.tflite", "is read by this command"), ("plot.xyz", "to end in one of ")],
)
def test_a_plot_that_cannot_be_is_refused_before_anything_is_measured(
    name, message, artifacts, tmp_path
):
    file = tmp_path / "int8.tflite"
    file.write_bytes((artifacts / "int8.tflite").read_bytes())
    done = kdl_here("benchmark", file, "--plot", tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr


def test_names_of_files_are_no_formulas(artifacts, tmp_path):
    names = ["_hidden.tflite", "$x^$.tflite"]
    for name in names:
        (tmp_path / name).write_bytes((artifacts / "int8.tflite").read_bytes())
    files = [tmp_path / name for name in names]
    done = kdl_here("benchmark", *files, "--runs", "2", "--plot", tmp_path / "plot.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plot.png").stat().st_size > 5000
