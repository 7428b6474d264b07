import errno
import json
import os

import pytest
from cli.command_line import error_line, kdl_here


def test_check(artifacts, tmp_path):
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    done = kdl_here("check", artifacts / "int8.tflite", "--html", page, "--json", data)
    assert done.returncode == 0, done.stderr
    assert "runs. 143 operations: 143 runs." in done.stdout
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(data.read_text())["verdict"] == "runs"
    done = kdl_here("check", artifacts / "float32.tflite", "--target", "edgetpu")
    assert done.returncode == 1
    assert "it takes int8 and uint8 only" in done.stdout
    assert "Rewrite: export with --quantization int8." in done.stdout


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_report_on_a_full_disk_keeps_the_old_one(option, artifacts, tmp_path, monkeypatch):
    path = tmp_path / "report"
    path.write_text("old")

    def fill_up(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill_up)
    done = kdl_here("check", artifacts / "int8.tflite", option, path)
    assert "No space left" in error_line(done)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report"]


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_report_in_a_missing_folder_is_told_before_the_file_is_read(option, tmp_path):
    done = kdl_here("check", tmp_path / "none.tflite", option, tmp_path / "missing" / "report")
    assert "missing does not exist" in error_line(done)


def test_files_that_can_be_read_are_reported_beside_the_errors(artifacts, tmp_path):
    (tmp_path / "cut.tflite").write_bytes((artifacts / "int8.tflite").read_bytes()[:5000])
    files = [artifacts / "int8.tflite", tmp_path / "cut.tflite", artifacts / "float32.tflite"]
    done = kdl_here("check", *files, "--json", tmp_path / "all.json")
    assert done.returncode == 1
    assert done.stdout.count("143 runs.") == 2
    assert "cut.tflite is damaged" in done.stderr
    assert [report["verdict"] for report in json.loads((tmp_path / "all.json").read_text())] == [
        "runs",
        "runs",
    ]


def test_a_page_is_for_one_file_and_needs_its_folder(artifacts, tmp_path):
    two = [artifacts / "int8.tflite", artifacts / "float32.tflite"]
    done = kdl_here("check", *two, "--html", tmp_path / "page.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--html takes one file; received 2" in done.stderr
    done = kdl_here("check", two[0], "--html", tmp_path / "missing" / "page.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert "does not exist" in done.stderr


def test_json_on_the_output_is_all_of_it(artifacts):
    files = [artifacts / "int8.tflite", artifacts / "float32.tflite"]
    done = kdl_here("check", *files, "--json", "-")
    assert [report["verdict"] for report in json.loads(done.stdout)] == ["runs", "runs"]
    assert json.loads(kdl_here("check", files[0], "--json", "-").stdout)["target"] == "gpu"


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_no_report_takes_the_place_of_a_model(option, artifacts, tmp_path):
    path = tmp_path / "m.bin"
    path.write_bytes(content := (artifacts / "int8.tflite").read_bytes())
    assert "is read by this command" in error_line(kdl_here("check", path, option, path))
    done = kdl_here("check", path, option, tmp_path / "other.tflite")
    assert "would be taken for a model" in error_line(done)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["m.bin"]
