"""Decorator of sized constructors."""

from collections.abc import Callable
from typing import Any, TypeVar

from kdl.applications.application import Application

Constructor = TypeVar("Constructor", bound=Callable)


def sized(cls: type[Application]) -> Callable[[Constructor], Constructor]:
    """Decorate a constructor of one size with the preprocessing and decoding of its family.

    Args:
        cls: Class of the family, whose arguments the constructor takes, with other defaults.

    Returns:
        Decorator that gives the function the attributes `preprocess_input` and
        `decode_predictions`.

    Example:
        >>> import kdl
        >>> kdl.applications.ResNet50.preprocess_input is kdl.applications.ResNet.preprocess_input
        True
    """

    def decorate(constructor: Constructor) -> Constructor:
        function: Any = constructor
        function.preprocess_input = cls.preprocess_input
        function.decode_predictions = cls.decode_predictions
        return constructor

    return decorate
