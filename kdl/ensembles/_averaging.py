"""Averaging: base of the ensembles that take the mean or the vote of their members."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.utils.metaestimators import available_if

from kdl._checks import check_choice
from kdl._typing import ArrayLike
from kdl.ensembles import _graph, _votes
from kdl.ensembles._ensemble import Ensemble, is_classifier


class AveragingEnsemble(Ensemble):
    """Base of bagging, deep and voting ensembles.

    A subclass has the parameters `voting` (or the attribute), `from_logits` and `task`, and gives
    the weight of each member by `_member_weights()`.
    """

    voting: Literal["soft", "hard"] = "soft"

    @available_if(is_classifier)
    def predict_proba(self, x: ArrayLike) -> np.ndarray:
        """Probabilities `(samples, classes)`, in the order of `classes_`.

        The mean of the members' probabilities, or for `voting="hard"` their share of the votes.

        Args:
            x: Array `(samples, …)`.
        """
        return self._outputs(self._check_inputs(x))

    def predict_members(self, x: ArrayLike) -> np.ndarray:
        """Outputs of each member: probabilities `(members, samples, classes)`, or numbers.

        Args:
            x: Array `(samples, …)`.
        """
        x = self._check_inputs(x)
        return np.stack([self._member_outputs(model, x) for model in self.members_])

    @available_if(is_classifier)
    def uncertainty(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Predictive uncertainty of each sample and its decomposition, in nats.

        Args:
            x: Array `(samples, …)`.

        Returns:
            Dict of arrays `(samples,)`: `"predictive_entropy"` of the mean of the members'
            probabilities; `"mean_entropy"`, the mean of their entropies, which is doubt that they
            share; and their difference `"mutual_information"`, which is 0 where all members agree
            and large where each is sure of something else.
        """
        return _votes.uncertainty(self.predict_members(x), self._member_weights())

    def _member_weights(self):
        return None

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("voting", self.voting, ("soft", "hard"))
        if self.task == "regression" and (self.voting == "hard" or self.from_logits):
            raise ValueError("voting='hard' and from_logits=True are for task='classification'.")

    def _outputs(self, x):
        combine = _votes.vote if self._fitted("voting") == "hard" else _votes.mean
        return combine(self.predict_members(x), self._member_weights())

    def _symbolic_outputs(self, inputs):
        outputs = _graph.members(self.members_, inputs, self._fitted("from_logits"))
        if self._fitted("voting") == "hard":
            outputs = _graph.votes(outputs, self._width)
        return _graph.weighted_mean(outputs, self._member_weights())
