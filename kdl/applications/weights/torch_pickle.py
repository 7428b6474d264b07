"""The pickles of PyTorch checkpoints, loaded without running the code that they name."""

import collections
import io
import pickle
import pickletools
from typing import NamedTuple

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


class UnfitFileError(Exception):
    """The file may be sound, but is not one to read weights from; `"{path} {error}."` says why."""


# Tuples, since a pickle can set attributes on whatever has a `__dict__`.
class Storage(NamedTuple):
    """Where the elements of tensors are stored: a key in the file, their dtype and number."""

    key: str
    dtype: str
    count: int


class StoredTensor(NamedTuple):
    """A view of a storage, in elements. Its numbers are the file's word, yet to be checked."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


class TorchUnpickler(pickle.Unpickler):
    """Loads the next pickle of a stream, with inert stand-ins for what PyTorch would call.

    Tensors become `StoredTensor`s. `storages` holds every `Storage` met so far by its key.

    Args:
        stream: Seekable binary stream at the start of a pickle; it is left at the pickle's end.

    Raises:
        UnfitFileError: From `load`, if the pickle names any class or function but those of plain
            tensors and containers.
        Exception: Of nearly any type, from either, if the pickle is damaged.

    Example:
        >>> TorchUnpickler(io.BytesIO(pickle.dumps({"epoch": 3}))).load()
        {'epoch': 3}
    """

    def __init__(self, stream):
        # Strings of Python 2, in the oldest files, are decoded as PyTorch does.
        super().__init__(io.BytesIO(_next_pickle(stream)), encoding="utf-8")
        self.storages = {}
        self._stand_ins = _stand_ins()

    def find_class(self, module, name):
        """Returns the stand-in for a global, and refuses every other one."""
        try:
            return self._stand_ins[f"{module}.{name}"]
        except KeyError:
            raise UnfitFileError(
                f"holds a pickled `{module}.{name}`, which kdl does not execute: {SAVE_ADVICE}"
            ) from None

    def persistent_load(self, pid):
        """Returns the `Storage` that `pid` describes."""
        kind, storage_type, key, _device, count, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise UnfitFileError(f"holds a module or a view of a storage: {SAVE_ADVICE}")
        if type(key) is not str or type(count) is not int or count < 0:
            raise ValueError("a storage lacks its key or its size")
        storage = Storage(key, STORAGE_DTYPES[storage_type], count)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described in two ways")
        return storage


def _next_pickle(stream):
    start = stream.tell()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        # The unpickler makes room for as many objects as the highest number given to one.
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise ValueError("its pickle numbers more objects than it has")
    end = stream.tell()
    stream.seek(start)
    return stream.read(end - start)


def _stand_ins():
    # Made anew for each pickle, since a pickle can set attributes on the functions it is given.
    def tensor(storage, offset, shape, strides, _requires_grad=False, _hooks=None, metadata=None):
        if not isinstance(storage, Storage):
            raise ValueError("a tensor lacks its storage")
        if metadata:
            raise UnfitFileError(f"holds a tensor stored negated or conjugated: {SAVE_ADVICE}")
        return StoredTensor(storage, offset, shape, strides)

    def parameter(data, *_):
        return data

    def device(*_):
        return None

    return {
        "collections.OrderedDict": collections.OrderedDict,
        "collections.Counter": dict,  # in the states of learning rate schedules
        "torch.Size": tuple,
        "torch.device": device,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        **{f"torch.{name}": name for name in STORAGE_DTYPES},
        **{f"torch.cuda.{name}": name for name in STORAGE_DTYPES},
    }
