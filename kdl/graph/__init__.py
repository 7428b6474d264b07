"""Functional models as graphs: read, inlined, rebuilt and copied."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.graph.copy_layer import copy_layer
from kdl.graph.copy_model import copy_model
from kdl.graph.copy_weights import copy_weights

__all__ = ["copy_layer", "copy_model", "copy_weights"]

__dir__ = _lazy.names_in_all(globals())
