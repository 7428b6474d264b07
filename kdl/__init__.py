"""kdl: efficient-vision papers as Keras 3 parts that train anywhere and end on a device.

Rooms are imported on first use, so that ``import kdl`` costs next to nothing and loads no backend;
once Keras is imported, it knows kdl's classes, so that saved models load.
"""

import importlib

from kdl._registration import register_with_keras

__version__ = "0.1.0"

_ROOMS = (
    "applications",
    "compression",
    "data",
    "deploy",
    "ensembles",
    "layers",
    "losses",
    "metrics",
    "ops",
    "segmentation",
    "testing",
    "training",
)

__all__ = ["__version__", *_ROOMS]


def __getattr__(name):
    if name in _ROOMS:
        return importlib.import_module(f"kdl.{name}")
    raise AttributeError(f"module 'kdl' has no attribute {name!r}. It has: {', '.join(_ROOMS)}.")


def __dir__():
    return sorted(__all__)


register_with_keras()
