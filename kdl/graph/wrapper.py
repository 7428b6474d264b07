"""Protocol of models around a network: pruned, distilled or handed to another library.

Passes and compression methods that need the network inside ask for it here. None of them knows the
classes of the others.
"""

from typing import Any, Protocol, TypeGuard, runtime_checkable

import keras


@runtime_checkable
class ModelWrapper(Protocol):
    """Methods that a model around a network has, so that `kdl.compression.strip` takes it."""

    def network(self) -> keras.Model:
        """The functional network with its weights of now, which is trained where it is."""
        ...

    def stripped(self) -> keras.Model:
        """A copy of the network to go on with, in which what the method promises holds."""
        ...


def is_wrapper(model: Any) -> TypeGuard[ModelWrapper]:
    """Tell if a model has the protocol; a class of models has not, nor a network."""
    return isinstance(model, ModelWrapper) and not isinstance(model, type)


def network_of(model: Any) -> Any:
    """The network in a `ModelWrapper`; any other model itself."""
    return model.network() if is_wrapper(model) else model


def strip_first(model: Any) -> str:
    """The message of a ValueError where a `ModelWrapper` comes in place of its network."""
    name = getattr(model, "name", "The model")
    return (
        f"{name} is a {type(model).__name__} around a network, and only the network can be taken: "
        f"pass kdl.compression.strip(model), a copy of it."
    )
