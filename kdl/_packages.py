"""The packages of kdl: one list, which imports, registration, reference and tests read."""

from typing import NamedTuple


class Package(NamedTuple):
    """A package of kdl.

    Attributes:
        name: Its name below `kdl`.
        floor: It imports from packages on lower floors only.
        serializable: Whether it has classes that Keras must know to load a file.
        public: Whether it is an attribute of `kdl`.
        models: Whether it registers models in `kdl._registry`.
    """

    name: str
    floor: int
    serializable: bool = False
    public: bool = True
    models: bool = False


PACKAGES = (
    Package("ops", 1),
    Package("layers", 2, serializable=True),
    Package("losses", 2, serializable=True),
    Package("metrics", 2, serializable=True),
    Package("data", 2),
    Package("graph", 3),
    Package("applications", 4, serializable=True, models=True),
    Package("training", 4, serializable=True),
    Package("compression", 5, serializable=True),
    Package("detection", 5, serializable=True),
    Package("ensembles", 5),
    Package("segmentation", 5, serializable=True, models=True),
    Package("deploy", 6),
    Package("cli", 7, public=False),
)

# Helpers for tests, which may import whatever they test.
TESTING = "testing"

PUBLIC = tuple(sorted([TESTING, *(package.name for package in PACKAGES if package.public)]))
SERIALIZABLE = tuple(package.name for package in PACKAGES if package.serializable)
