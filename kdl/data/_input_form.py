"""Structure of a model's inputs: one array, or several in lists and dictionaries.

The *form* of a model's inputs is a `Slot`, or a list, tuple or dictionary of forms.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Slot:
    """The place of one input.

    Attributes:
        shape: Its shape without batch, with None for dimensions of any size; None for any shape.
        name: Name of its input layer, or of its place; None where it is the only one.
        dtype: Its dtype in the model, or None.
    """

    shape: tuple | None = None
    name: str | None = None
    dtype: str | None = None

    def fits(self, shape):
        """Tell if an input of this shape, without batch, belongs here."""
        if self.shape is None:
            return bool(shape)
        return len(shape) == len(self.shape) and all(
            b in (None, a) for a, b in zip(shape, self.shape, strict=True)
        )


def form_of_model(model):
    """The form of a Keras model's inputs.

    Args:
        model: A functional or Sequential model, built.
    """
    import keras

    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input

    def slot(x):
        return Slot(tuple(x.shape[1:]), x.name, keras.backend.standardize_dtype(x.dtype))

    return map_form(slot, structure)


def form_of_shapes(shapes, name=None):
    """The form that is told by a shape, or by shapes in lists and dictionaries.

    Args:
        shapes: Shapes without batch; None for one input of any shape. Forms stay.
        name: Name of the place.
    """
    if shapes is None or isinstance(shapes, Slot):
        return shapes or Slot()
    if isinstance(shapes, dict):
        return {key: form_of_shapes(part, _within(name, key)) for key, part in shapes.items()}
    if all(size is None or isinstance(size, int | np.integer) for size in shapes):
        return Slot(tuple(shapes), name)
    return [form_of_shapes(part, _within(name, place)) for place, part in enumerate(shapes)]


def map_form(function, *structures):
    """The structure of what `function` gives for the leaves of structures that are alike.

    Args:
        function: Called with one leaf of each.
        structures: Structures; the first of them tells what a leaf is.
    """
    first = structures[0]
    if isinstance(first, dict):
        return {key: map_form(function, *(part[key] for part in structures)) for key in first}
    if isinstance(first, list | tuple):
        return [map_form(function, *parts) for parts in zip(*structures, strict=True)]
    return function(*structures)


def leaves(structure):
    """The leaves as a list, those of a dictionary in the order of its sorted keys."""
    if isinstance(structure, dict):
        structure = [structure[key] for key in sorted(structure)]
    elif not isinstance(structure, list | tuple):
        return [structure]
    return [leaf for part in structure for leaf in leaves(part)]


def fitted(form, x):
    """`x` in the structure of `form`; None if it has another one.

    As in Keras a dictionary goes by the keys, or by the names of the inputs in a list, and may hold
    more; a list goes by the order, which sorted keys have, too. The only input of a model may stand
    alone, also in a dictionary of one.

    Args:
        form: The form.
        x: Arrays, or what becomes one, in any structure.
    """
    slots = leaves(form)
    if len(slots) > 1:
        return _fitted(form, x)
    while isinstance(x, dict):
        x = next(iter(x.values())) if len(x) == 1 else x.get(slots[0].name)
    if isinstance(form, list | tuple) and isinstance(x, list | tuple) and len(x) == 1:
        x = x[0]
    return None if x is None else map_form(lambda slot: x, form)


def holds_numbers(value):
    """Tell if this is a number, or a list of lists of numbers."""
    while isinstance(value, list | tuple) and value:
        value = value[0]
    return isinstance(value, int | float | np.generic)


def _fitted(form, x):
    if isinstance(form, Slot):
        nested = isinstance(x, dict) or (isinstance(x, list | tuple) and not holds_numbers(x))
        return None if nested else x
    if isinstance(form, dict):
        if isinstance(x, list | tuple) and list(form) == sorted(form):
            x = dict(zip(form, x, strict=False)) if len(x) == len(form) else None
        if not isinstance(x, dict) or not set(form) <= set(x):
            return None
        parts = {key: _fitted(part, x[key]) for key, part in form.items()}
        return None if any(part is None for part in parts.values()) else parts
    if isinstance(x, dict):
        names = [getattr(part, "name", None) for part in form]
        x = [x[name] for name in names if name in x]
    if not isinstance(x, list | tuple) or len(x) != len(form):
        return None
    parts = [_fitted(part, value) for part, value in zip(form, x, strict=True)]
    return None if any(part is None for part in parts) else parts


def _within(name, key):
    return str(key) if name is None else f"{name}_{key}"
