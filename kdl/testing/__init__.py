"""Helpers that test a layer, loss, model or export the way kdl tests its own."""

from kdl import _lazy
from kdl.testing.export_test import run_export_test
from kdl.testing.layer_test import run_layer_test
from kdl.testing.loss_test import run_loss_test
from kdl.testing.model_test import run_model_test

__all__ = [
    "run_export_test",
    "run_layer_test",
    "run_loss_test",
    "run_model_test",
]

__dir__ = _lazy.names_in_all(globals())
