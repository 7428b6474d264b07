"""Schedules, callbacks and the training run."""

import keras  # first: what Keras registers imports the packages, in their own order

from kdl import _lazy
from kdl.training.callbacks.backup import Backup
from kdl.training.callbacks.drop_path_schedule import DropPathSchedule
from kdl.training.callbacks.host_evaluation import HostEvaluation
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
    "DropPathSchedule",
    "HostEvaluation",
    "WarmUpCosine",
    "distribute",
    "launch",
    "launches_processes",
    "plot_confusion_matrix",
    "plot_history",
    "recalibrate",
    "save_portable",
]

__dir__ = _lazy.names_in_all(globals())
