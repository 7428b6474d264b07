"""Data sets of any library as arrays."""

import dataclasses
import math
import os

import numpy as np

from kdl._warn import warn
from kdl.data._input_form import (
    Slot,
    fitted,
    form_of_model,
    form_of_shapes,
    holds_numbers,
    leaves,
    map_form,
)
from kdl.data.input_spec import InputSpec

_ACCEPTED = (
    "an array (samples, …), a pair (inputs, labels), or a data set of batches: "
    "kdl.data.ImageFolder, ArrayDataset or PKSampler, keras.utils.PyDataset, tf.data.Dataset, "
    "PyTorch's DataLoader, a list or generator of batches, or a function that makes one"
)
_NAMED = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Inputs of a model, and what is known of them.

    Attributes:
        inputs: Array `(samples, …)` of the data's own dtype; of a model with several inputs a list
            or dict of them, as the model takes it.
        labels: Array `(samples, …)`, or None.
        class_names: Names of the classes in the order of the labels, or None.
        input_spec: `kdl.data.InputSpec` by which the images became inputs, or None.
    """

    inputs: np.ndarray | list | dict
    labels: np.ndarray | None = None
    class_names: list | None = None
    input_spec: InputSpec | None = None

    def __len__(self):
        """Number of samples."""
        return len(self.arrays[0])

    @property
    def arrays(self):
        """List of the arrays of all inputs."""
        return leaves(self.inputs)

    def subset(self, chosen):
        """Those samples that a boolean array `(samples,)` chooses."""
        labels = None if self.labels is None else self.labels[chosen]
        inputs = map_form(lambda array: array[chosen], self.inputs)
        return dataclasses.replace(self, inputs=inputs, labels=labels)

    def matched(self, info, argument="data"):
        """These samples with labels that count the classes as a model does.

        Classes are matched by name. Where the model does not have them all, there is a warning and
        the labels are left out, since no accuracy can be told.

        Args:
            info: `kdl.data.ModelInfo` of the model.
            argument: What messages call the data.

        Raises:
            ValueError: If the model wants its images otherwise than these were read.
        """
        known = None not in (self.input_spec, info.input_spec)
        if known and not self.input_spec.agrees_with(info.input_spec):
            raise ValueError(
                f"{argument} was read with {self.input_spec}, but the model takes images by "
                f"{info.input_spec}. Read the data with the model's."
            )
        if self.labels is None or None in (self.class_names, info.labels):
            return self
        here, there = list(self.class_names), list(info.labels)
        if here == there or math.prod(self.labels.shape[2:]) != 1:  # alike, or labels of pixels
            return self
        if not set(here) <= set(there):
            warn(
                f"{argument} has the classes {_some(here)}, the model {_some(there)}: accuracy is "
                f"left out."
            )
            return dataclasses.replace(self, labels=None, class_names=None)
        numbers = np.array([there.index(name) for name in here])
        labels = class_numbers(self.labels, argument).astype("int64")
        if labels.min() < 0 or labels.max() >= len(here):
            raise ValueError(
                f"{argument} has {len(here)} classes but labels {labels.min()} … {labels.max()}."
            )
        return dataclasses.replace(self, labels=numbers[labels], class_names=there)


def read_samples(data, limit=None, input_shape=None, argument="data"):
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
    if _is_function(data):
        data = data()
    if isinstance(data, Samples):
        inputs = _as_form(form, data.inputs, argument)
        samples = dataclasses.replace(data, inputs=inputs)
    else:
        inputs, labels = _read(data, limit, form, argument)
        samples = Samples(inputs, labels, _class_names(data), _input_spec(data))
    _check(samples, form, argument)
    return samples


def samples_of_model(data, model, limit=None, argument="data"):
    """`read_samples` for the inputs of a model, in the structure in which it takes them.

    Args:
        data: The data.
        model: A functional or Sequential model.
        limit: As in `read_samples`.
        argument: What messages call the data.
    """
    return read_samples(data, limit, form_of_model(model), argument)


def class_numbers(labels, argument="data"):
    """Integer labels `(samples,)` of integers or one-hot rows; label maps as they are.

    Args:
        labels: Array `(samples,)`, `(samples, 1)` or `(samples, classes)`; label maps
            `(samples, height, width)`; or None.
        argument: What messages call the data.

    Raises:
        ValueError: If labels are none of these.
    """
    if labels is None or labels.ndim == 3 or (labels.ndim == 4 and labels.shape[-1] == 1):
        return labels
    if labels.ndim == 2 and labels.shape[1] > 1:
        _check_one_hot(labels, argument)
        return labels.argmax(-1)
    if math.prod(labels.shape[1:]) != 1:
        raise ValueError(
            f"{argument}: Received {len(labels)} inputs but {labels.size} labels; expected one "
            f"integer or one-hot row for each."
        )
    return labels.reshape(-1)


def _check_one_hot(rows, argument):
    """Raises ValueError unless each row is a distribution over classes, as one-hot rows are."""
    rows = np.asarray(rows, "float64")
    wrong = (rows < 0).any(-1) | ~(np.abs(rows.sum(-1) - 1) < 1e-3)
    if wrong.any():
        raise ValueError(
            f"{argument}: rows of labels must be one-hot, or shares of classes that add up to 1; "
            f"received {rows[wrong.argmax()].tolist()}. Pass inputs alone for a model of several "
            f"labels or of numbers."
        )


def inputs_for_predict(data, model, convert=False):
    """`data` as `model.predict` takes it: without what it would mistake for other inputs.

    Keras reads a pair as two inputs, and a list of batches as many, and warns at the end of a
    generator; where there are several inputs, it takes what a dictionary holds beside them for one
    of them. These become the arrays of the model's inputs, all else is left as it is.

    Args:
        data: What `read_samples` takes.
        model: The model.
        convert: Whether the inputs of all data sets become arrays. Defaults to False.
    """
    misread = isinstance(data, dict | list | tuple | Samples) or _is_function(data)
    misread = misread or hasattr(data, "__next__")
    convert = convert or len(model.inputs) > 1
    if not (misread or (convert and not _is_array(data))):
        return data
    return samples_of_model(data, model).inputs


def _read(data, limit, form, argument):
    """`(inputs, labels)` of any accepted form, not checked."""
    _check_kind(data, argument)
    if hasattr(data, "unaugmented"):
        inputs, labels = data.unaugmented(limit)
        return _as_form(form, inputs, argument), labels
    if isinstance(data, tuple):
        _check_tuple(data, argument)
    if _is_array(data) or isinstance(data, tuple | dict) or _is_one_batch(data, form):
        return _arrays(data, form, argument)
    return _read_batches(data, limit, form, argument)


def _check_kind(data, argument):
    """Raises ValueError for what can be told at once to be none of the accepted forms."""
    iterable = hasattr(data, "__iter__") or hasattr(data, "__getitem__")
    if isinstance(data, str | bytes | os.PathLike | set) or not iterable:
        advice = " Read a folder with kdl.data.read_image_folder." * isinstance(
            data, str | os.PathLike
        )
        raise ValueError(f"{argument} must be {_ACCEPTED}; received {_describe(data)}.{advice}")


def _is_one_batch(data, form):
    """Whether a list is the numbers of an array, or the arrays of several inputs."""
    several = len(leaves(form)) > 1
    return isinstance(data, list) and (
        holds_numbers(data) or (several and fitted(form, data) is not None)
    )


def _check_tuple(data, argument):
    if not data or not (_is_array(data[0]) or isinstance(data[0], dict | list | tuple)):
        raise ValueError(
            f"{argument} must be {_ACCEPTED}; received a tuple of {len(data)}: "
            f"{', '.join(map(_describe, data[:3]))}. Batches stand in a list."
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
    """Whether this is a `tf.data.Dataset` or a `PyDataset` that repeats for ever."""
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
    return _as_form(form, item, argument), None


def _as_form(form, x, argument):
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
            f"tuple. Received {_describe(x)}."
        )
    received = f"{len(x)} values" if values else _describe(x)
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
            f"{argument} must hold numbers; received {_describe(value)} of dtype {array.dtype}."
        )
    return array


def _check(samples, form, argument):
    slots, labels = leaves(form), samples.labels
    for slot, array in zip(slots, samples.arrays, strict=True):
        name = f"{argument} for the input {slot.name}" if len(slots) > 1 else argument
        _check_array(array, slot, name)
        if len(array) != len(samples):
            raise ValueError(f"{name}: Received {len(array)} samples; others have {len(samples)}.")
    if labels is not None and (not labels.ndim or len(labels) != len(samples)):
        count = labels.size if not labels.ndim else len(labels)
        raise ValueError(f"{argument}: Received {len(samples)} inputs but {count} labels.")


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


def _is_function(data):
    return callable(data) and not isinstance(data, type) and not _is_array(data)


def _is_array(value):
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _describe(value):
    if _is_array(value):
        return f"an array of shape {tuple(value.shape)}"
    if isinstance(value, dict):
        return f"a dictionary of {sorted(map(str, value))}"
    if isinstance(value, list | tuple) and not holds_numbers(value):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, str | os.PathLike | int | float) or value is None:
        return repr(value)
    return f"a {type(value).__name__}"


def _some(names):
    more = f", … ({len(names)})" if len(names) > _NAMED else ""
    return f"{', '.join(map(repr, names[:_NAMED]))}{more}"
