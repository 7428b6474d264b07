"""Makes kdl's classes known to Keras as soon as Keras is there, and not before.

`keras.models.load_model` finds a class only if its module was imported. To import everything with
`import kdl` would import Keras and its backend, which a program that only runs a `.tflite` file
does not have; to leave it to the user would make loading depend on the order of imports.
"""

import importlib
import importlib.abc
import importlib.util
import sys

_ROOMS = ("kdl.layers", "kdl.applications", "kdl.training", "kdl.compression")


def register_with_keras():
    """Imports the rooms that hold serialisable classes: now, or right after `import keras`."""
    if sys.modules.get("keras") is not None:
        _import_rooms()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _import_rooms():
    for room in _ROOMS:
        importlib.import_module(room)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Finder that lets others find `keras` and imports the rooms once it is loaded."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _import_rooms()
