"""Base of models with a hook after each optimizer step."""

from typing import Any

import keras

from kdl.data.model_info import learn_model_info
from kdl.graph.wrapper import network_of


class PostStepModel(keras.Model):
    """Model that calls `after_step` right after the optimizer, inside of the compiled step.

    There it sees and sets variables on every backend. On JAX neither a constraint can, which knows
    the optimizer's and the trained variables only, nor a callback, unless all state leaves the
    compiled step after each batch.
    """

    def after_step(self) -> None:
        """Called after each optimizer step; it may read and assign variables of the model."""
        raise NotImplementedError

    def after_fit(self) -> None:
        """Called when `fit` has ended: an optimizer may have put in averages then."""

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does; the network remembers what an `ImageFolder` knows.

        That are the names of its classes and how it reads its images, the network's
        `kdl.data.ModelInfo` then.
        """
        network = network_of(self)
        if getattr(network, "inputs", None):
            learn_model_info(network, getattr(x, "class_names", None), getattr(x, "spec", None))
        history = super().fit(x, *args, **kwargs)
        self.after_fit()
        return history

    def train_step(self, *args: Any) -> Any:
        """One step of Keras's own, and `after_step`."""
        if keras.backend.backend() != "jax":
            logs = super().train_step(*args)
            self.after_step()
            return logs
        logs, (trained, others, *rest) = super().train_step(*args)
        variables = [*self.trainable_variables, *self.non_trainable_variables]
        pairs = [*zip(variables, [*trained, *others], strict=True)]
        with keras.StatelessScope(pairs) as scope:
            self.after_step()
        values = [scope.get_current_value(variable) for variable in variables]
        return logs, (values[: len(trained)], values[len(trained) :], *rest)
