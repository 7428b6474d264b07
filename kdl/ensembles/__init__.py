"""Ensembles of Keras models, with scikit-learn's interface."""

import importlib.util

from kdl import _lazy

__all__ = [
    "AdaBoostEnsemble",
    "BaggingEnsemble",
    "DeepEnsemble",
    "GradientBoostedEnsemble",
    "StackingEnsemble",
    "VotingEnsemble",
    "load",
]

# Looked up when used: they need scikit-learn, and a process that trains a member chooses its
# backend before Keras is imported.
_HOMES = {
    "AdaBoostEnsemble": "ada_boost_ensemble",
    "BaggingEnsemble": "bagging_ensemble",
    "DeepEnsemble": "deep_ensemble",
    "GradientBoostedEnsemble": "gradient_boosted_ensemble",
    "StackingEnsemble": "stacking_ensemble",
    "VotingEnsemble": "voting_ensemble",
    "load": "_loading",
}

_look_up, __dir__ = _lazy.lazy_names(globals(), _HOMES)


def __getattr__(name):
    if name in _HOMES and importlib.util.find_spec("sklearn") is None:
        raise ImportError("kdl.ensembles needs scikit-learn; run: pip install scikit-learn")
    return _look_up(name)
