"""What a user and an IDE see: names in `__all__`, annotations, no module of a function's name."""

import importlib
import inspect

import pytest


def public_members(package):
    module = importlib.import_module(f"kdl.{package}")
    return {name: getattr(module, name) for name in module.__all__}


def own_methods(cls):
    """Methods that kdl defines, by name: those of Keras and of NamedTuple are not ours."""
    for name, value in vars(cls).items():
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        value = value.fget if isinstance(value, property) else inspect.unwrap(value)
        value = getattr(value, "__func__", value)
        if inspect.isfunction(value) and value.__module__.startswith("kdl."):
            yield name, value


def missing(function):
    """Names of the arguments without annotation; `return` if that has none."""
    signature = inspect.signature(function)
    names = [
        name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.annotation is parameter.empty
    ]
    return names + ["return"] * (signature.return_annotation is signature.empty)


# Packages join as their signatures are annotated.
ANNOTATED = [
    "applications",
    "compression",
    "compression.tfmot",
    "data",
    "deploy",
    "detection",
    "ensembles",
    "graph",
    "layers",
    "losses",
    "metrics",
    "ops",
    "segmentation",
    "testing",
]


@pytest.mark.parametrize("package", ANNOTATED)
def test_public_signatures_are_annotated(package):
    gaps = {}
    for name, member in public_members(package).items():
        functions = own_methods(member) if inspect.isclass(member) else [("", member)]
        for method, function in functions:
            if callable(function) and missing(function):
                gaps[f"{name}.{method}"] = missing(function)
    assert not gaps
