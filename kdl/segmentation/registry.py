"""Registration of the segmentation networks."""

from kdl import _registry
from kdl.segmentation import spnet

_registry.register(spnet.ENTRIES)
