"""Base of the ensembles whose members answer side by side and are averaged."""

import numpy as np
from sklearn.utils.metaestimators import available_if

from kdl.ensembles import _graph, _votes
from kdl.ensembles._ensemble import Ensemble, check_choice


def _classifies(self):
    return self._used("task") == "classification"


class AveragingEnsemble(Ensemble):
    """Base of bagging, deep and voting ensembles.

    A subclass has the parameters `voting` (or the attribute), `from_logits` and `task`, and says in
    `_weights()` how much each member counts.
    """

    voting = "soft"

    @available_if(_classifies)
    def predict_proba(self, x):
        """Probabilities `(samples, classes)`, in the order of `classes_`.

        The mean of the members' probabilities, or for `voting="hard"` their share of the votes.

        Args:
            x: Array `(samples, …)`.
        """
        return self._outputs(self._check_x(x))

    def predict_members(self, x):
        """What each member says: probabilities `(members, samples, classes)`, or numbers.

        Args:
            x: Array `(samples, …)`.
        """
        x = self._check_x(x)
        return np.stack([self._answer(model, x) for model in self.members_])

    @available_if(_classifies)
    def uncertainty(self, x):
        """How unsure the ensemble is of each sample, and why, in nats.

        Args:
            x: Array `(samples, …)`.

        Returns:
            Dict of arrays `(samples,)`: `"predictive_entropy"` of the mean of the members'
            probabilities; `"mean_entropy"`, the mean of their entropies, which is doubt that they
            share; and their difference `"mutual_information"`, which is 0 where all members say the
            same and large where each is sure of something else.
        """
        return _votes.uncertainty(self.predict_members(x), self._weights())

    def _weights(self):
        return None

    def _check(self):
        super()._check()
        check_choice("voting", self.voting, ("soft", "hard"))
        if self.task == "regression" and (self.voting == "hard" or self.from_logits):
            raise ValueError("voting='hard' and from_logits=True are for task='classification'.")

    def _combine(self, answers):
        combine = _votes.vote if self._used("voting") == "hard" else _votes.mean
        return combine(answers, self._weights())

    def _outputs(self, x):
        return self._combine(self.predict_members(x))

    def _symbolic(self, inputs):
        outputs = _graph.members(self.members_, inputs, self._used("from_logits"))
        if self._used("voting") == "hard":
            outputs = _graph.votes(outputs, self._width)
        return _graph.weighted_mean(outputs, self._weights())
