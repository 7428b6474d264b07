"""Read data sets of any library as arrays."""

import dataclasses
from typing import Any

import numpy as np

from kdl.data._arrays import as_form, is_array, is_function, read_arrays, whole_numbers
from kdl.data._input_form import form_of_model, form_of_shapes, leaves, map_form
from kdl.data.input_spec import InputSpec
from kdl.data.samples import Samples


def read_samples(
    data: Any, limit: int | None = None, input_shape: Any = None, argument: str = "data"
) -> Samples:
    """Reads samples as arrays, whatever library holds them.

    Accepted are an array `(samples, …)` of NumPy or any backend; a pair `(inputs, labels)`; and
    data sets of batches, with or without labels: those of `kdl.data`, `keras.utils.PyDataset`,
    `tf.data.Dataset`, PyTorch's `DataLoader`, lists and generators, and functions that make one.
    Where `input_shape` tells them apart, data sets of single samples are accepted too. Data sets
    of `kdl.data` are read without their augmentation, and at random places if they hold more than
    `limit`; so are batches that can be numbered. Of others, the first ones are taken.

    Several inputs are what Keras takes for them, wherever one input is an array: a dict, or a list
    or tuple in their order.

    Args:
        data: The data.
        limit: Most samples taken from a data set; None (default) for all. Arrays are taken whole.
        input_shape: Shape of one input, with None for dimensions of any size; a dict or list of
            shapes where there are several inputs; None (default) for one of any shape.
        argument: What messages call the data.

    Returns:
        `Samples`.

    Raises:
        ValueError: If `data` is none of these, is empty or endless, or holds anything but finite
            numbers of `input_shape`.

    Example:
        >>> batches = [(np.zeros((4, 8, 8, 3)), np.arange(4)) for _ in range(3)]
        >>> samples = read_samples(batches, limit=10)
        >>> samples.inputs.shape, samples.labels.tolist()
        ((10, 8, 8, 3), [0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
        >>> pair = {"image": np.zeros((3, 8, 8, 1)), "age": np.ones((3, 1))}, np.arange(3)
        >>> read_samples(pair, input_shape={"age": (1,), "image": (8, 8, 1)}).inputs["age"].shape
        (3, 1)
    """
    form = form_of_shapes(input_shape)
    if is_function(data):
        data = data()
    if isinstance(data, Samples):
        inputs = as_form(form, data.inputs, argument)
        samples = dataclasses.replace(data, inputs=inputs)
    else:
        inputs, labels = read_arrays(data, limit, form, argument)
        samples = Samples(inputs, labels, _class_names(data), _input_spec(data))
    _check(samples, form, argument)
    return _rounded(samples, form, argument)


def samples_of_model(
    data: Any, model: Any, limit: int | None = None, argument: str = "data"
) -> Samples:
    """`read_samples` for the inputs of a model, in the structure in which it takes them.

    Args:
        data: The data.
        model: A functional or Sequential model.
        limit: As in `read_samples`.
        argument: What messages call the data.

    Raises:
        ValueError: As `read_samples`, or if an input of integers is given small fractions, as of
            images that were scaled. Others, as of images that were resized, are rounded.
    """
    return read_samples(data, limit, form_of_model(model), argument)


def inputs_for_predict(data: Any, model: Any, convert: bool = False) -> Any:
    """`data` as `model.predict` takes it: without what it would mistake for other inputs.

    Keras reads a pair as two inputs, and a list of batches as many, and warns at the end of a
    generator; where there are several inputs, it takes what a dictionary holds beside them for one
    of them. These become the arrays of the model's inputs, all else is left as it is.

    Args:
        data: What `read_samples` takes.
        model: The model.
        convert: Whether the inputs of all data sets become arrays. Defaults to False.
    """
    misread = isinstance(data, dict | list | tuple | Samples) or is_function(data)
    misread = misread or hasattr(data, "__next__")
    fractions = is_array(data) and "float" in str(data.dtype)
    misread = misread or (fractions and any("int" in slot.dtype for slot in _slots(model)))
    convert = convert or len(model.inputs) > 1
    if not (misread or (convert and not is_array(data))):
        return data
    return samples_of_model(data, model).inputs


def _slots(model):
    return leaves(form_of_model(model))


def _check(samples, form, argument):
    slots, labels = leaves(form), samples.labels
    for slot, array in zip(slots, samples.arrays, strict=True):
        name = _name(argument, slot, slots)
        _check_array(array, slot, name)
        if len(array) != len(samples):
            raise ValueError(f"{name}: Received {len(array)} samples; others have {len(samples)}.")
    if labels is not None and (not labels.ndim or len(labels) != len(samples)):
        count = labels.size if not labels.ndim else len(labels)
        raise ValueError(f"{argument}: Received {len(samples)} inputs but {count} labels.")


def _rounded(samples, form, argument):
    """The samples with whole numbers for inputs of integers, to which Keras casts floats."""
    slots = leaves(form)
    if not any("int" in (slot.dtype or "") for slot in slots):
        return samples

    def rounded(slot, array):
        if "int" not in (slot.dtype or ""):
            return array
        return whole_numbers(array, _name(argument, slot, slots), slot.dtype, resized=True)

    return dataclasses.replace(samples, inputs=map_form(rounded, form, samples.inputs))


def _name(argument, slot, slots):
    return f"{argument} for the input {slot.name}" if len(slots) > 1 else argument


def _check_array(array, slot, argument):
    if array.ndim < (1 if slot.shape == () else 2) or not len(array):
        raise ValueError(
            f"{argument}: Expected inputs (samples, …), at least one; received {array.shape}."
        )
    if not slot.fits(array.shape[1:]):
        raise ValueError(
            f"{argument} must have shape (samples, {', '.join(map(str, slot.shape))}); received "
            f"{array.shape}.{_advice(array.shape[1:], slot)}"
        )
    if array.dtype.kind != "f":
        return
    # One at a time, since the answer takes as much memory as bytes hold the data.
    first = next((i for i, sample in enumerate(array) if not np.isfinite(sample).all()), None)
    if first is not None:
        raise ValueError(
            f"{argument} holds values that are not finite (NaN or infinite), first in sample "
            f"{first}."
        )


def _advice(shape, slot):
    if len(shape) == 3 and slot.fits((*shape[1:], shape[0])):
        return " Its channels stand first: move them to the end, for instance by numpy.moveaxis."
    return ""


def _class_names(data):
    """The names of the classes, as kdl, Keras and torchvision keep them."""
    for holder in _holders(data):
        for attribute in ("class_names", "classes"):
            names = getattr(holder, attribute, None)
            if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
                return list(names) or None
    return None


def _input_spec(data):
    specs = (getattr(holder, "spec", None) for holder in _holders(data))
    return next((spec for spec in specs if isinstance(spec, InputSpec)), None)


def _holders(data):
    """A data set, and those that it takes its samples from: loaders and subsets have one."""
    while data is not None:
        yield data
        data = getattr(data, "dataset", None)
