"""The page of `examples/browser` answers in Chromium as the files do in Python."""

import json
import math
import os
import shutil
import subprocess

import keras
import numpy as np
import pytest
from browser import Browser, missing_programs, serve
from sklearn.datasets import load_digits

from kdl.data import digits
from kdl.deploy import ImageClassifier, TFLiteRunner

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}"),
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="once: no backend takes part"),
]

# Largest difference of a score. Both run the same file on the same input; the processor's sums are
# ordered otherwise, which may move an int8 score by a step of 1/256.
BOUNDS = {"float32": 1e-5, "float16": 1e-5, "int8": 1 / 256}


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    """A copy of the page with its packages, beside the files, served."""
    folder = tmp_path_factory.mktemp("site")
    page = folder / "examples" / "browser"
    ignored = shutil.ignore_patterns("node_modules")
    shutil.copytree(root / "examples" / "browser", page, ignore=ignored)
    shutil.copytree(root / "saved_models" / "quickstart", folder / "saved_models" / "quickstart")
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=page,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "network" in done.stderr:
        pytest.skip("npm cannot reach its registry")
    assert done.returncode == 0, done.stderr
    with serve(folder) as address:
        yield f"{address}/examples/browser/"


@pytest.fixture(scope="module")
def page(site, tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        browser.open(site)
        browser.wait("document.body.dataset.state !== 'loading'")
        assert browser.run("return document.body.dataset.state;") == "ready", browser.run(
            "return document.body.innerText;"
        )
        yield browser
    finally:
        browser.close()


@pytest.fixture(scope="module")
def ten():
    """One test digit of each class: 8×8 numbers from 0 to 16, and the image of 48×48."""
    _, (images, labels) = digits(size=48)
    _, (small, _) = digits(size=8, channels=1)
    rows = [int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]
    counts = np.rint(16 * small[rows, :, :, 0]).astype(int)
    assert counts.max() == load_digits().images.max() == 16
    return counts, images[rows]


# Inks as many of the 4×4 parts of each cell as the digit's number says, which is how these numbers
# were made from handwriting in the first place.
PAINT = """
const [counts] = args;
const canvas = document.getElementById("drawing");
const pen = canvas.getContext("2d");
const part = canvas.width / 32;
pen.fillStyle = "black";
pen.fillRect(0, 0, canvas.width, canvas.height);
pen.fillStyle = "white";
counts.forEach((row, y) => row.forEach((count, x) => {
  for (let i = 0; i < count; i++) {
    pen.fillRect((4 * x + i % 4) * part, (4 * y + Math.floor(i / 4)) * part, part, part);
  }
}));
const page = await import("./page.js");
await page.answer();
return { ...document.body.dataset };
"""


def choose(page, form):
    page.run('await (await import("./page.js")).choose(args[0]);', f"{form}.tflite")


@pytest.mark.parametrize("form", BOUNDS)
def test_ten_digits_get_the_answers_of_python(page, ten, form, root):
    choose(page, form)
    path = root / "saved_models" / "quickstart" / f"{form}.tflite"
    [expected] = TFLiteRunner(path).predict(ten[1])
    answers = ImageClassifier(path).predict(ten[1], top=1)
    for counts, scores, [answer] in zip(ten[0], expected, answers, strict=True):
        told = page.run(PAINT, counts.tolist())
        assert int(told["label"]) == answer.index == scores.argmax()
        difference = np.abs(np.array(json.loads(told["scores"])) - scores).max()
        assert difference <= BOUNDS[form]
        assert float(told["latency"]) > 0
    found = [row[0].index for row in answers]
    assert np.mean(np.array(found) == range(10)) >= 0.9


def test_the_input_is_that_of_python(page, ten, site):
    """To the last bit of float32, before any network sees it; and any mean and deviation."""
    script = """
    const { enlarge, normalize } = await import("./digits.js");
    return [...normalize(enlarge(args[0].flat(), 48), args[1])];
    """
    for counts, image in zip(ten[0], ten[1], strict=True):
        ink = (counts / 16).tolist()
        plain = page.run(script, ink, {"mean": [0, 0, 0], "std": [1, 1, 1]})
        np.testing.assert_array_equal(np.array(plain, "float32"), image.ravel())
    mean, std = [0.5, 0.25, 0.1], [0.5, 0.2, 0.3]
    scaled = np.array(page.run(script, ink, {"mean": mean, "std": std})).reshape(48, 48, 3)
    np.testing.assert_allclose(scaled, (image - mean) / std, atol=1e-6)


def test_drawn_with_the_mouse(page):
    """An ellipse as tall as the square is a zero; then the button clears it."""
    choose(page, "int8")
    page.run("document.getElementById('clear').click();")
    page.wait("document.getElementById('label').textContent === '–'")
    left, top, width = page.run(
        "const box = document.getElementById('drawing').getBoundingClientRect();"
        "return [box.left, box.top, box.width];"
    )
    turns = [2 * math.pi * i / 40 for i in range(41)]
    page.draw(
        [
            (left + width * (0.5 - 0.22 * math.sin(t)), top + width * (0.5 - 0.42 * math.cos(t)))
            for t in turns
        ]
    )
    page.wait("document.getElementById('label').textContent !== '–'")
    assert page.run("return document.getElementById('label').textContent;") == "0"
    assert page.run("return document.getElementById('latency').textContent;").endswith(" ms")
    page.run("document.getElementById('clear').click();")
    page.wait("document.getElementById('label').textContent === '–'")


LOAD_WITH_WRONG_SIDECAR = """
const real = window.fetch;
window.fetch = async (url) =>
  String(url).endsWith(".json") ? new Response('{"bytes": 1}') : real(url);
try {
  return await (await import("./model.js")).loadModel(args[0]);
} finally {
  window.fetch = real;
}
"""


def test_files_that_cannot_be_run_are_told(page):
    with pytest.raises(RuntimeError, match="404"):
        page.run('return (await import("./model.js")).loadModel("missing.tflite");')
    with pytest.raises(RuntimeError, match="its sidecar says 1"):
        page.run(LOAD_WITH_WRONG_SIDECAR, "../../saved_models/quickstart/int8.tflite")


def test_the_packages_come_from_the_public_registry_alone(root):
    folder = root / "examples" / "browser"
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages.keys() == {f"node_modules/@litertjs/{name}" for name in ("core", "wasm-utils")}
    for entry in packages.values():
        assert entry["integrity"].startswith("sha512-")
        assert entry.get("resolved", "https://registry.npmjs.org/").startswith(
            "https://registry.npmjs.org/"
        )
    tracked = subprocess.run(
        ["git", "ls-files", folder], cwd=root, capture_output=True, text=True, check=False
    )
    assert "node_modules" not in tracked.stdout
    assert os.path.exists(folder / "README.md")
