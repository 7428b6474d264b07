"""kdl: efficient-vision papers as Keras 3 parts that train anywhere and end on a device.

Packages are imported on first use, so that ``import kdl`` costs next to nothing and loads no
backend; once Keras is imported, it knows kdl's classes, so that saved models load.
"""

from kdl._lazy import import_with_keras
from kdl._packages import PUBLIC
from kdl._registration import register_with_keras

__version__ = "0.1.0"

__all__ = ["__version__", *PUBLIC]


def __getattr__(name):
    if name in PUBLIC:
        return import_with_keras(f"kdl.{name}")
    raise AttributeError(f"module 'kdl' has no attribute {name!r}. It has: {', '.join(PUBLIC)}.")


def __dir__():
    return sorted(__all__)


register_with_keras()
