import pytest

from kdl.applications.weights.naming import resolve

TEMPLATES = {
    "stage0_block0/conv1": "first",
    "stage{s}_block{b}/conv{i}": "layer{s}.{b}.conv{i}",
    "a.b{n}": "dotted{n}",
    "x{n}_y{n2}": "{n2}-{n}",
}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("stage0_block0/conv1", "first"),
        ("stage0_block12/conv1", "layer0.12.conv1"),
        ("stage1_block0/conv1/kernel", None),
        ("axb1", None),
        ("a.b1", "dotted1"),
        ("x1_y2", "2-1"),
    ],
)
def test_resolve(path, name):
    assert resolve(TEMPLATES, path) == name
