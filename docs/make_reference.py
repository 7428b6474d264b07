"""Writes `docs/reference.md`: every public name of kdl with what its docstring says first.

python docs/make_reference.py
"""

import importlib
import inspect
import pathlib

import kdl

PAGE = pathlib.Path(__file__).resolve().parent / "reference.md"
NESTED = {"compression": ["tfmot"], "layers": ["recurrent"]}
HEAD = """# Reference

Every public name, with the first sentence of its docstring: `help(kdl.layers.ShuffleUnit)` shows
the arguments, shapes, errors, the paper, and an example. Made by `python docs/make_reference.py`.
"""


def main():
    """Writes the page."""
    PAGE.write_text(page())


def page():
    """The page as Markdown."""
    return "\n".join([HEAD, *(section(name) for name in packages())])


def packages():
    """Names of the packages, in the order of the page."""
    for name in sorted(set(kdl.__all__) - {"__version__"}):
        yield name
        yield from (f"{name}.{nested}" for nested in NESTED.get(name, ()))


def section(name):
    """A package: its summary, and a table of its names."""
    package = importlib.import_module(f"kdl.{name}")
    rows = [f"| `{public}` | {summary(getattr(package, public))} |" for public in names(package)]
    head = [f"## kdl.{name}", "", summary(package), "", "| name | what it is |", "| --- | --- |"]
    return "\n".join([*head, *rows, ""])


def names(package):
    """The public names of a package that are not modules."""
    public = getattr(package, "__all__", None) or [n for n in dir(package) if n[0] != "_"]
    return sorted(name for name in public if not inspect.ismodule(getattr(package, name)))


def summary(thing):
    """First paragraph of a docstring, as one line of a table."""
    text = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
