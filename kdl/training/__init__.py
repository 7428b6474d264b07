"""Schedules, callbacks and the training run."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.training.callbacks.backup import Backup
from kdl.training.callbacks.drop_path_schedule import DropPathSchedule
from kdl.training.callbacks.host_evaluation import HostEvaluation
from kdl.training.comparisons.compare_models import compare_models
from kdl.training.comparisons.comparison import Comparison
from kdl.training.comparisons.format_table import format_table
from kdl.training.comparisons.plot_curves import plot_curves
from kdl.training.comparisons.recipe import Recipe
from kdl.training.comparisons.train_and_measure import train_and_measure
from kdl.training.distribution.distribute import distribute
from kdl.training.distribution.launch import launch, launches_processes
from kdl.training.plots import plot_confusion_matrix, plot_history
from kdl.training.portable import save_portable
from kdl.training.recalibrate import recalibrate
from kdl.training.runs.classifier_run import ClassifierRun
from kdl.training.schedules.warm_up_cosine import WarmUpCosine

__all__ = [
    "Backup",
    "ClassifierRun",
    "Comparison",
    "DropPathSchedule",
    "HostEvaluation",
    "Recipe",
    "WarmUpCosine",
    "compare_models",
    "distribute",
    "format_table",
    "launch",
    "launches_processes",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_history",
    "recalibrate",
    "save_portable",
    "train_and_measure",
]

__dir__ = _lazy.names_in_all(globals())
