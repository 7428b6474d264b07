"""Batches of any library as NumPy arrays."""

import os

import numpy as np

from kdl.data._input_form import Slot, fitted, holds_numbers, leaves, map_form

_ACCEPTED = (
    "an array (samples, …), a pair (inputs, labels), or a data set of batches: "
    "kdl.data.ImageFolder, ArrayDataset or PKSampler, keras.utils.PyDataset, tf.data.Dataset, "
    "PyTorch's DataLoader, a list or generator of batches, or a function that makes one"
)

# Images in units of their range or of their deviation hold no larger numbers.
_SCALED = 4

# Rounding errors of floats are smaller, and what was meant as a fraction is mostly more.
_FRACTION = 1e-3


def read_arrays(data, limit, form, argument):
    """`(inputs, labels)` of any accepted form, not checked."""
    _check_kind(data, argument)
    if hasattr(data, "unaugmented"):
        inputs, labels = data.unaugmented(limit)
        # Ground truth of detectors is a dict of arrays: no labels of samples.
        return as_form(form, inputs, argument), None if isinstance(labels, dict) else labels
    if isinstance(data, tuple):
        _check_tuple(data, argument)
    if is_array(data) or isinstance(data, tuple | dict) or _is_one_batch(data, form):
        return _arrays(data, form, argument)
    return _read_batches(data, limit, form, argument)


def _check_kind(data, argument):
    """Raises ValueError for what can be told at once to be none of the accepted forms."""
    iterable = hasattr(data, "__iter__") or hasattr(data, "__getitem__")
    if isinstance(data, str | bytes | os.PathLike | set) or not iterable:
        advice = " Read a folder with kdl.data.read_image_folder." * isinstance(
            data, str | os.PathLike
        )
        raise ValueError(f"{argument} must be {_ACCEPTED}; received {describe(data)}.{advice}")


def _is_one_batch(data, form):
    """Tell if a list is the numbers of an array, or the arrays of several inputs."""
    several = len(leaves(form)) > 1
    return isinstance(data, list) and (
        holds_numbers(data) or (several and fitted(form, data) is not None)
    )


def _check_tuple(data, argument):
    if not data or not (is_array(data[0]) or isinstance(data[0], dict | list | tuple)):
        raise ValueError(
            f"{argument} must be {_ACCEPTED}; received a tuple of {len(data)}: "
            f"{', '.join(map(describe, data[:3]))}. Batches stand in a list."
        )


def _read_batches(data, limit, form, argument):
    """Joins the batches of a data set, as many as `limit` needs."""
    if limit is None and _is_endless(data):
        raise ValueError(f"{argument} is endless: pass some batches of it as a list.")
    parts, count = [], 0
    for item in _items(data, limit):
        x, y = _batched(*_arrays(item, form, argument), form)
        parts.append((x, y))
        count += _count_samples(x, y, argument)
        if limit is not None and count >= limit:
            break
    if not count:
        raise ValueError(
            f"{argument} holds no samples. (A generator can be read once only; pass a list.)"
        )
    inputs, labels = zip(*parts, strict=True)
    joined = map_form(lambda *arrays: _join(arrays, limit, argument), *inputs)
    return joined, _join(labels, limit, argument)


def _batched(x, y, form):
    """A batch `(x, y)`, also of what is a single sample by its shapes."""
    pairs = zip(leaves(x), leaves(form), strict=True)
    if any(slot.shape is None or array.ndim != len(slot.shape) for array, slot in pairs):
        return x, y
    return map_form(lambda array: array[None], x), None if y is None else y[None]


def _count_samples(x, y, argument):
    """Number of samples in a batch; ValueError if it is not the same for all inputs and labels."""
    arrays = leaves(x) if y is None else [*leaves(x), y]
    counts = [len(array) if array.ndim else 0 for array in arrays]
    if len(set(counts)) > 1:
        raise ValueError(
            f"{argument}: All inputs and labels of a batch must have as many samples; received "
            f"{counts}."
        )
    return counts[0]


def _items(data, limit):
    """The batches; those that have numbers in an order of chance if not all may be needed."""
    count = _count(data)
    if count is None:
        return iter(data)
    order = np.arange(count)
    if limit is not None:
        order = np.random.default_rng(0).permutation(order)
    return (data[int(index)] for index in order)


def _is_endless(data):
    """Tell if this is a `tf.data.Dataset` or a `PyDataset` that repeats for ever."""
    if hasattr(data, "cardinality"):
        return int(data.cardinality()) == -1
    return hasattr(data, "num_batches") and data.num_batches is None


def _count(data):
    """Number of batches of Keras's `PyDataset`, of samples of PyTorch's `Dataset`; else None."""
    if not hasattr(data, "__getitem__"):
        return None
    if hasattr(data, "num_batches"):
        return data.num_batches
    return None if hasattr(data, "__iter__") else len(data)


def _arrays(item, form, argument):
    """`(x, y)` of a batch `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`, as arrays."""
    x, y = _split(item, form, argument)
    return map_form(lambda slot, value: _as_numpy(value, argument), form, x), _labels(y, argument)


def _split(item, form, argument):
    if isinstance(item, tuple) or (isinstance(item, list) and not holds_numbers(item)):
        x = fitted(form, item[0]) if len(item) in (1, 2, 3) else None
        if x is not None:
            return x, item[1] if len(item) > 1 else None
    return as_form(form, item, argument), None


def as_form(form, x, argument):
    """`x` in the structure of the model's inputs, or ValueError."""
    found = fitted(form, x)
    several = len(leaves(form)) > 1
    values = isinstance(x, list | tuple) and not holds_numbers(x)
    values = values and (len(x) != 1 or isinstance(form, Slot))
    if found is not None and (several or not values):
        return found
    if several:
        raise ValueError(
            f"{argument} must hold the inputs {map_form(lambda slot: slot.shape, form)}, each with "
            f"the samples first, as such a dict or list; or such inputs and their labels as a "
            f"tuple. Received {describe(x)}."
        )
    received = f"{len(x)} values" if values else describe(x)
    raise ValueError(
        f"{argument}: a batch must be inputs or (inputs, labels); received {received}. Map it to "
        f"such a pair."
    )


def _join(parts, limit, argument):
    if all(part is None for part in parts):
        return None
    if any(part is None for part in parts):
        raise ValueError(f"{argument}: some batches have labels, and some have none.")
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise ValueError(
            f"{argument}: all batches must have one shape; received samples of {shapes[0]} and "
            f"{shapes[1]}. A pair of inputs and labels is a tuple."
        )
    return np.concatenate(parts)[:limit]


def _labels(labels, argument):
    if labels is None:
        return None
    if isinstance(labels, dict):
        raise ValueError(f"{argument}: labels must be one array; received a dictionary.")
    return _as_numpy(labels, argument)


def _as_numpy(value, argument):
    """An array of numbers out of an array or tensor of any library."""
    if hasattr(value, "detach"):  # PyTorch's
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    try:
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} holds what is no array: {error}.") from error
    if array.dtype.name == "bfloat16":
        array = array.astype("float32")
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"{argument} must hold numbers; received {describe(value)} of dtype {array.dtype}."
        )
    return array


def whole_numbers(array, argument, taken, resized=False):
    """Numbers where integers are taken, floats among them rounded: a cast makes 6 of 6.9999995.

    Args:
        array: The numbers.
        argument: What messages call them.
        taken: What is taken, in words or as a dtype.
        resized: Whether fractions may come, as of images that were resized, which are cut to the
            range of the dtype `taken`. Those of images that were scaled, which are all small, may
            not.

    Raises:
        ValueError: If there are fractions among them.
    """
    if array.dtype.kind != "f":
        return array
    wrong = ~are_whole(array)
    if wrong.any() and not (resized and np.abs(array).max() > _SCALED):
        raise ValueError(
            f"{argument} must hold whole numbers, since {taken} is taken; received "
            f"{array[wrong][0]:.4g}. Pass the integers themselves, as bytes of images from 0 to "
            f"255, not scaled ones."
        )
    array = np.rint(array)
    # Cubic resizing goes beyond the range, where a cast would begin anew at its other end.
    return np.clip(array, *_limits(taken)) if resized and wrong.any() else array


def _limits(dtype):
    limits = np.iinfo(dtype)
    return limits.min, limits.max


def are_whole(array):
    """Boolean for each number, whether it is whole but for rounding, or NaN."""
    return ~(np.abs(array - np.rint(array)) > _FRACTION)


def is_function(data):
    """Tell if this makes a data set when it is called."""
    return callable(data) and not isinstance(data, type) and not is_array(data)


def is_array(value):
    """Tell if this is an array or a tensor, of any library."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def describe(value):
    """A few words on a value, for messages."""
    if is_array(value):
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dictionary of {sorted(map(str, value))}"
    if isinstance(value, list | tuple) and not holds_numbers(value):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str | os.PathLike | int | float) or value is None:
        return repr(value)
    return f"a {type(value).__name__}"
