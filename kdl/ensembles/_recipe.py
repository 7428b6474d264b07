"""Recipe of a member: a function or a template that builds it, and the arguments of its `fit`.

Keras is imported inside the functions, as in `_member_training`.
"""

import copy
import importlib.util
import pickle
from dataclasses import dataclass, field, replace
from typing import Any

from kdl.ensembles._model_files import (
    display_name,
    read_model,
    serialization_error,
    write_and_check,
)


@dataclass(frozen=True)
class Recipe:
    """Recipe of a member: a function, or a saved model, and the arguments of `fit`."""

    build: Any
    fit_arguments: dict
    registered: dict = field(default_factory=dict)  # with Keras, by the main script

    def packed(self):
        """The recipe as bytes, for another process.

        Raises:
            ValueError: If it can't be pickled.
        """
        whole = replace(self, registered=_registered_by_main_script())
        plain = _try_pickle(whole)
        # The main script of another process is another module, or none in a notebook.
        if plain is not None and b"__main__" not in plain:
            return plain
        if importlib.util.find_spec("cloudpickle"):
            import cloudpickle

            return _try_pickle(whole, cloudpickle.dumps) or cloudpickle.dumps(self)
        plain = plain or _try_pickle(self)
        if plain is not None:
            return plain
        raise ValueError(
            f"build={self.build!r} or fit_arguments can't be sent to another process. Use a "
            f"function of a module, run: pip install cloudpickle, or train with executor=None."
        )


@dataclass(frozen=True)
class ModelTemplate:
    """A compiled model as a template: each call gives a copy with new weights."""

    content: bytes
    compile_config: dict

    def __call__(self, input_shape, outputs):
        """A compiled model; the arguments are those of any `build`."""
        from kdl.graph import copy_model

        model = copy_model(read_model(self.content), weights=False)
        try:
            model.compile_from_config(copy.deepcopy(self.compile_config))
        except Exception as error:  # whatever a loss or an optimizer raises
            subject = f"What {display_name(model)} is compiled with"
            raise serialization_error(subject, error) from error
        return model


def template_of(model):
    """`ModelTemplate` of a compiled model.

    Raises:
        ValueError: If it is not compiled or not built, or can't go through a file.
    """
    if not model.compiled or not model.built:
        raise ValueError("build must be a compiled model that is built, or a function.")
    return ModelTemplate(write_and_check(model, "build"), model.get_compile_config())


def unpacked(recipe):
    """The `Recipe`, from one or from its bytes; what it brings along is registered with Keras."""
    if isinstance(recipe, Recipe):
        return recipe
    recipe = pickle.loads(recipe)
    _register(recipe.registered)
    return recipe


def _registered_by_main_script():
    """Classes and functions that travel as they are, and leave their registration behind."""
    import keras

    objects = keras.saving.get_custom_objects()
    return {n: v for n, v in objects.items() if getattr(v, "__module__", "") == "__main__"}


def _register(objects):
    import keras

    for name, value in objects.items():
        package, mark, own_name = name.rpartition(">")
        if mark:
            keras.saving.register_keras_serializable(package, own_name)(value)
        else:
            keras.saving.get_custom_objects()[name] = value


def _try_pickle(value, dumps=pickle.dumps):
    try:
        return dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
