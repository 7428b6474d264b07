"""Loss classes around a loss function."""

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

import keras

from kdl._typing import Tensor


class FunctionLoss(keras.losses.Loss):
    """Base of a loss class whose values are those of a function with the same arguments.

    The arguments of the function but the labels, the predictions and the mask become attributes of
    the loss, arguments of every call, and its config. They stand once, as the spelled signature of
    the subclass:

        def __init__(self, gamma=2.0, reduction="sum", name="a_loss", dtype=None):
            super().__init__(a_loss, locals())
    """

    renamed: ClassVar[dict[str, str]] = {}  # name of an argument before → name of today

    def __init__(self, function: Callable, arguments: dict[str, Any]) -> None:
        super().__init__(
            name=arguments["name"], reduction=arguments["reduction"], dtype=arguments["dtype"]
        )
        self._function = function
        names = list(inspect.signature(function).parameters)[2:]
        self._takes_mask = "mask" in names
        self._names = [name for name in names if name != "mask"]
        for name in self._names:
            setattr(self, name, arguments[name])

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """The values, before they are weighted and reduced."""
        return self._function(y_true, y_pred, **self._arguments())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self._arguments(), "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FunctionLoss":
        """The loss of a config."""
        return cls(**cls.arguments_of_today(config))

    @classmethod
    def arguments_of_today(cls, config: dict[str, Any]) -> dict[str, Any]:
        """A config by the names of today: it may have been saved before one was renamed."""
        return {cls.renamed.get(name, name): value for name, value in config.items()}

    def _arguments(self):
        return {name: getattr(self, name) for name in self._names}
