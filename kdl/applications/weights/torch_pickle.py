"""Unpickling of PyTorch checkpoints without running the code that they name."""

import collections
import io
import pickle
import pickletools
from typing import NamedTuple

from kdl.applications.weights.hash_costs import HashCosts

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
SAVE_ADVICE = "save model.state_dict() alone with torch.save"

_NUMBERS = ("bool", "bytearray", "bytes", "complex", "float", "int", "str")
_PLAIN_TYPES = (*_NUMBERS, "dict", "frozenset", "list", "object", "set", "tuple")
# What training scripts keep beside the weights, as packages and as single names: it is left out.
_LEFT_OUT = {
    "addict",
    "argparse",
    "datetime",
    "easydict",
    "lightning",
    "lightning_fabric",
    "mmcv",
    "mmengine",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "yacs",
    "_codecs.encode",
    "collections.defaultdict",
    "copy_reg._reconstructor",
    "copyreg._reconstructor",
    "torch.torch_version.TorchVersion",
    "types.SimpleNamespace",
    "typing.Any",
    *(f"torch.{name}" for name in ("float64", "float32", "float16", "bfloat16", "int64")),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _PLAIN_TYPES),
}
_LARGEST_RANK = 64


class UnfitFileError(Exception):
    """The file may be sound, but is not one to read weights from; `"{path} {error}."` says why."""


# Tuples, since a pickle can set attributes on whatever has a `__dict__`.
class Storage(NamedTuple):
    """Storage of the elements of tensors: a key in the file, their dtype and number."""

    key: str
    dtype: str
    count: int  # type: ignore[assignment]  # a tuple's method, which nobody calls


class StoredTensor(NamedTuple):
    """A view of a storage, in elements. Its numbers are the file's word, yet to be checked."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


class TorchUnpickler(pickle.Unpickler):
    """Loads the next pickle of a stream, with inert stand-ins for what PyTorch would call.

    Tensors become `StoredTensor`s. `storages` holds every `Storage` met so far by its key. What
    training scripts keep beside them, such as numbers of NumPy or an `argparse.Namespace`, becomes
    an empty object.

    Args:
        stream: Seekable binary stream at the start of a pickle; it is left at the pickle's end.

    Raises:
        UnfitFileError: From `load`, if the pickle names any class or function but those of plain
            tensors, containers and settings.
        Exception: Of nearly any type, from either, if the pickle is damaged.

    Example:
        >>> TorchUnpickler(io.BytesIO(pickle.dumps({"epoch": 3}))).load()
        {'epoch': 3}
    """

    def __init__(self, stream) -> None:
        # Strings of Python 2, in the oldest files, are decoded as PyTorch does.
        content = _next_pickle(stream)
        super().__init__(io.BytesIO(content), encoding="utf-8")
        self.storages = {}
        self._stand_ins = _stand_ins(len(content))

    def find_class(self, module, name):
        """Return the stand-in for a global; raise for every other one."""
        full = f"{module}.{name}"
        if full in self._stand_ins:
            return self._stand_ins[full]
        if full in _LEFT_OUT or module.partition(".")[0] in _LEFT_OUT:
            return _left_out()
        raise UnfitFileError(f"holds a pickled `{full}`, which kdl does not execute: {SAVE_ADVICE}")

    def persistent_load(self, pid):
        """Returns the `Storage` that `pid` describes."""
        kind, storage_type, key, _device, count, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise UnfitFileError(f"holds a module or a view of a storage: {SAVE_ADVICE}")
        if type(storage_type) is not str:
            raise ValueError("a storage lacks its type")
        if type(key) is not str or type(count) is not int or count < 0:
            raise ValueError("a storage lacks its key or its size")
        storage = Storage(key, STORAGE_DTYPES[storage_type], count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described in two ways")
        return storage


def _next_pickle(stream):
    start = stream.tell()
    costs = HashCosts()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        costs.step(opcode, argument)
        # The unpickler makes room for as many objects as the highest number given to one.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise ValueError("its pickle numbers more objects than it has")
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)


def _left_out():
    # Made anew, too. Whatever is done to it leaves it empty.
    class LeftOut:
        def __new__(cls, *_, **__):
            return super().__new__(cls)

        def ignore(self, *_):
            return None

        __init__ = __setstate__ = __setitem__ = append = extend = add = ignore

    return LeftOut


def _stand_ins(room):
    # Made anew for each pickle, since a pickle can set attributes on the functions it is given.
    def tensor(storage, offset, shape, strides, _requires_grad=False, _hooks=None, metadata=None):
        if not isinstance(storage, Storage):
            raise ValueError("a tensor lacks its storage")
        if metadata:
            raise UnfitFileError(f"holds a tensor stored negated or conjugated: {SAVE_ADVICE}")
        if any(type(n) is not tuple or len(n) > _LARGEST_RANK for n in (shape, strides)):
            raise ValueError("a tensor lacks its shape or strides")
        return StoredTensor(storage, offset, shape, strides)

    def ordered(pairs=()):
        # Python 2 gave a list of pairs. A list can be given again and again.
        nonlocal room
        room -= len(pairs)
        if room < 0 or not all(type(key) is str for key, _ in pairs):
            raise ValueError("a dictionary is not made of named entries")
        return collections.OrderedDict(pairs)

    def same(value=None):
        if not isinstance(value, tuple | dict | type(None)):
            raise ValueError("a size or counter is not made of numbers")
        return value

    def parameter(data, *_):
        return data

    def device(*_):
        return None

    return {
        "collections.OrderedDict": ordered,
        "collections.Counter": same,  # in the states of learning rate schedules
        "torch.Size": same,
        "torch.device": device,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        **{f"torch.{name}": name for name in STORAGE_DTYPES},
        **{f"torch.cuda.{name}": name for name in STORAGE_DTYPES},
    }
