"""Schedules, callbacks and the training run."""

import keras  # first: what Keras registers imports the rooms, in their own order

from kdl.training.backup import Backup
from kdl.training.classifier_run import ClassifierRun
from kdl.training.distribute import distribute
from kdl.training.drop_path_schedule import DropPathSchedule
from kdl.training.host_evaluation import HostEvaluation
from kdl.training.launch import launch, launches_processes
from kdl.training.plots import plot_confusion_matrix, plot_history
from kdl.training.portable import save_portable
from kdl.training.recalibrate import recalibrate
from kdl.training.warm_up_cosine import WarmUpCosine
