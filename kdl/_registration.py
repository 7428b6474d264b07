"""Makes kdl's classes known to Keras as soon as Keras is there, and not before.

`keras.models.load_model` finds a class only if its module was imported. To import everything with
`import kdl` would import Keras and its backend, which a program that only runs a `.tflite` file
does not have; to leave it to the user would make loading depend on the order of imports.
"""

import importlib
import importlib.abc
import sys

from kdl._packages import SERIALIZABLE


def register_with_keras():
    """Imports the packages that hold serializable classes: now, or once Keras is imported."""
    if sys.modules.get("keras") is not None:
        _import_packages()
    else:
        sys.meta_path.insert(0, _Watch())


def _import_packages():
    for name in SERIALIZABLE:
        importlib.import_module(f"kdl.{name}")


class _Watch(importlib.abc.MetaPathFinder):
    """Imports the packages when Keras is loaded and no module of kdl is halfway.

    Where a module of kdl is what first imports Keras, the packages wait for its end: they may need
    names that it does not have yet.
    """

    def __init__(self):
        self.keras_is_loaded = False
        self.halfway = set()

    def find_spec(self, fullname, path=None, target=None):
        """Module spec of the other finders, with a loader that tells when it is done."""
        if fullname != "keras" and not fullname.startswith("kdl."):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec

    def begins(self, name):
        """A module is about to be executed."""
        if name != "keras":
            self.halfway.add(name)

    def ends(self, name, loaded):
        """A module was executed, or failed to."""
        self.halfway.discard(name)
        self.keras_is_loaded |= loaded and name == "keras"
        if self.keras_is_loaded and not self.halfway and self in sys.meta_path:
            sys.meta_path.remove(self)
            _import_packages()


class _Loader(importlib.abc.Loader):
    def __init__(self, loader, watch):
        self._loader, self._watch = loader, watch

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        name, loaded = module.__name__, False
        self._watch.begins(name)
        try:
            self._loader.exec_module(module)
            loaded = True
        finally:
            self._watch.ends(name, loaded)
