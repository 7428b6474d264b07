"""What a person installs: its name, what its texts tell to install, and what an archive holds."""

import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tomllib

import keras
import pytest

TOP = {
    "docs",
    *(".ci", ".gitignore", "benchmarks", "examples", "kdl", "saved_models", "tests"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md"),
    *("conftest.py", "pyproject.toml"),
}

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="of no backend: once")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def texts(root):
    """Path → content of all files in which a person could read a command."""
    kinds = (".py", ".md", ".toml")
    folders = [root / name for name in ("kdl", "examples", "benchmarks", "saved_models")]
    files = [*root.glob("*.md"), *(path for folder in folders for path in folder.rglob("*"))]
    return {path: path.read_text() for path in files if path.suffix in kinds}


def packages_named(text):
    """The packages of each `pip install …` in a text."""
    for line in re.findall(r"pip install ([^`)\n]*)", text.replace('"\n', "").replace('f"', "")):
        for word in re.split(r"[,;] ", line)[0].replace('"', "").replace("'", "").split():
            if re.fullmatch(r"[a-zA-Z][\w.-]*(\[[\w,]+\])?([=<>~]=?[\w.]+)?", word):
                yield re.split(r"[\[=<>~]", word)[0]


def test_distribution_name_is_not_the_one_of_another_project(project):
    assert project["name"] == "keras-kdl"


def test_no_text_tells_to_install_the_package_of_another_project(texts):
    for path, text in texts.items():
        assert "kdl" not in packages_named(text), path
        assert "kdl[" not in text.replace("keras-kdl[", ""), path


def test_packages_that_messages_name_are_requirements(project, texts):
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    known = {re.split(r"[\[=<>]", item)[0] for group in groups for item in group}
    named = {
        name
        for path, text in texts.items()
        if path.suffix == ".py" and path.parts[-2] != "benchmarks"
        for name in packages_named(text)
    }
    assert {"matplotlib", "scikit-learn", "pillow", "ai-edge-litert", "tensorflow"} <= named
    assert named <= known | {"cloudpickle"}  # which Dask brings


def python_named(folder, name, version_is_new):
    """A program of this name that is this Python, or seems to be an old one."""
    program = folder / name
    action = f'exec {sys.executable} "$@"' if version_is_new else "exit 1"
    program.write_text(f"#!/bin/sh\n{action}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(
    ("programs", "taken"),
    [
        ({"python3": True, "python3.12": True}, "python3"),
        ({"python3": False, "python3.12": True}, "python3.12"),
        ({"python": True}, "python"),
    ],
)
def test_make_takes_a_python_of_any_name(programs, taken, root, tmp_path):
    for name, version_is_new in programs.items():
        python_named(tmp_path, name, version_is_new)
    done = make("--dry-run", "quickstart", root=root, path=tmp_path)
    assert f"\n{taken} -m venv" in f"\n{done.stdout}", done.stdout + done.stderr


def test_make_without_a_python_says_what_is_needed(root, tmp_path):
    python_named(tmp_path, "python3", False)
    done = make("quickstart", root=root, path=tmp_path)
    assert done.returncode != 0
    assert "kdl needs Python 3.11 or later" in done.stdout


def make(*arguments, root, path):
    """make where no programs but these are found."""
    return subprocess.run(
        [shutil.which("make"), f"VENV={path}/venv", *arguments],
        cwd=root,
        env={"PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_source_archive_holds_what_the_tests_need(root, tmp_path):
    build = "import hatchling.build, sys; print(hatchling.build.build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    with tarfile.open(tmp_path / done.stdout.split()[-1]) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames()}
    needed = {".ci/run", "CONTRIBUTING.md", "Makefile", "benchmarks/__main__.py", "tests/run.py"}
    assert needed | {"saved_models/quickstart/int8.tflite"} <= held
    assert {name.split("/")[0] for name in held} == TOP
