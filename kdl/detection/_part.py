"""Parts of a detector that are saved within it."""

import inspect
from typing import Any, Self

import keras


class Part:
    """Base of a part without weights: its config is the constructor's arguments.

    Each is an attribute of its name, as it was given or in an equal form.
    """

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The part of a config."""
        return cls(**config)


def as_part(part: Any) -> Any:
    """A part or a layer, given as it is or in its serialized form."""
    return keras.saving.deserialize_keras_object(part) if isinstance(part, dict) else part


def as_config(part: Any) -> Any:
    """The serialized form of a part or a layer."""
    return keras.saving.serialize_keras_object(part)
