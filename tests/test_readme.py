"""The blocks of the README run as they stand, from an installed wheel; its links lead somewhere."""

import json
import os
import re
import runpy
import shlex
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

EXPORTING = ("digits.tflite", "photos.tflite", "model.tflite")

# Runs each block with names of its own, as if it stood alone in a file.
RUN = """
import json, sys
import kdl
assert kdl.__file__.startswith(sys.argv[1]), kdl.__file__
for number, block in enumerate(json.load(sys.stdin)):
    exec(compile(block, f"README block {number}", "exec"), {"__name__": "__main__"})
"""

# Runs one command after the other: each would begin with seconds of imports.
COMMANDS = """
import json, sys
import kdl
from kdl.__main__ import main
assert kdl.__file__.startswith(sys.argv[1]), kdl.__file__
for arguments in json.load(sys.stdin):
    sys.argv = ["kdl", *arguments]
    main()
"""


@pytest.fixture(scope="module")
def readme(root):
    return (root / "README.md").read_text()


@pytest.fixture(scope="module")
def installed(root, tmp_path_factory):
    """A folder with kdl unpacked from its wheel, as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    wheel = folder / done.stdout.split()[-1]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", folder / "site", wheel], check=True, capture_output=True)
    return folder / "site"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images as the README supposes them, in which its blocks run in turn."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("cat", "dog")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(100 * label, 100 * label + 150, (48, 64, 3), "uint8")
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number}.jpg")
    return folder


def blocks(readme, language):
    return re.findall(rf"^```{language}\n(.*?)^```", readme, re.M | re.S)


def run(command, installed, folder, **options):
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.long
@pytest.mark.every_backend
@pytest.mark.export
def test_python_blocks_run_from_an_installed_wheel(readme, installed, folder):
    written = json.dumps(blocks(readme, "python"))
    printed = run([sys.executable, "-c", RUN, str(installed)], installed, folder, input=written)
    assert printed.count("passed as int8") == 2
    assert all((folder / name).exists() for name in ("digits.tflite", "photos.keras"))


@pytest.mark.long
@pytest.mark.export
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the command is of no backend: once")
def test_commands_run_from_an_installed_wheel(readme, installed, folder):
    lines = [
        shlex.split(line, comments=True)
        for block in blocks(readme, "console")
        for line in block.splitlines()
    ]
    commands = [line[1:] for line in lines if line and line[0] == "kdl"]
    assert len(commands) >= 7
    program = [sys.executable, "-c", COMMANDS, str(installed)]
    run(program, installed, folder, input=json.dumps(commands))
    assert (folder / "report.html").exists()
    assert (folder / "speed.png").exists()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of no backend: once")
@pytest.mark.parametrize(
    "page", ["README.md", "docs/networks.md", "benchmarks/README.md", "examples/README.md"]
)
def test_links_lead_to_files(page, root):
    text = (root / page).read_text()
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert targets
    for target in targets:
        assert (root / page).parent.joinpath(target).exists(), f"{page}: {target}"


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of no backend: once")
def test_reference_lists_every_public_name(root):
    reference = runpy.run_path(str(root / "docs" / "make_reference.py"))
    assert (root / "docs" / "reference.md").read_text() == reference["page"]()
