"""PyTorch checkpoints as NumPy arrays, read without PyTorch."""

import io
import mmap
import os
import pathlib
import struct
import zipfile

import numpy as np

from kdl._typing import Path
from kdl.applications.weights.safetensors_file import array_from_bytes, itemsize, read_safetensors
from kdl.applications.weights.torch_pickle import (
    SAVE_ADVICE,
    StoredTensor,
    TorchUnpickler,
    UnfitFileError,
)
from kdl.data.archives import read_entry

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "ema",
    "net",
    "network",
    "module",
    "params",
    "params_ema",
    "weights",
)
# A wrapper may hold a wrapper: {"ema": {"module": …}}.
_DEEPEST_WRAPPER = 3


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read the named tensors of a PyTorch checkpoint into NumPy arrays.

    PyTorch is not needed, and nothing pickled in the file is executed. The format is recognized by
    content: the zip format of PyTorch ≥ 1.6, the legacy format before it, or safetensors.

    A checkpoint that holds its tensors under a usual name, such as `"state_dict"`, `"model"`,
    `"state_dict_ema"`, `"ema"`, `"net"`, `"params"` or `"weights"`, is unwrapped; the weights as
    trained come before their averages. Entries that are not tensors are dropped, as are the parts
    `_orig_mod.` of names, which `torch.compile` puts there, and a prefix `module.` that all names
    have in common.

    Args:
        path: Path of a `.pth`, `.pt`, `.bin` or `.safetensors` file.

    Returns:
        Dict of names to arrays, in the file's order. Shapes, strides and dtypes are those of the
        tensors, except that bfloat16 becomes float32. Tensors that share memory in the file share
        it here: copy an array before writing to it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty, truncated, corrupt or no checkpoint, holds no named
            tensors, or holds pickled objects other than tensors and plain containers.

    Example:
        >>> import pathlib, tempfile
        >>> header = b'{"module.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
        >>> file = len(header).to_bytes(8, "little") + header + np.float32([1, 2]).tobytes()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "weights.safetensors")
        ...     _ = path.write_bytes(file)
        ...     read_state_dict(path)
        {'bias': array([1., 2.], dtype=float32)}
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: check the path, or download the file.")
    if not path.is_file():
        raise ValueError(f"{path} is not a file: give the path of a checkpoint file.")
    with path.open("rb") as stream:
        try:
            return unwrapped_names(_read(stream, path.stat().st_size))
        except UnfitFileError as error:
            raise ValueError(f"{path} {error}.") from None
        # A damaged pickle or archive can raise nearly every exception there is.
        except Exception as error:
            raise ValueError(
                f"{path} is truncated, corrupt or of a kind that kdl does not read "
                f"({type(error).__name__}: {error}): download or save it again."
            ) from error


def _read(stream, size):
    start = stream.read(64)
    stream.seek(0)
    if start.startswith(_ZIP_MAGIC):
        return _read_zip(stream, size)
    if _LEGACY_MAGIC.to_bytes(10, "little") in start:
        # A mapped file reads no more than there is, whatever a pickle asks for.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read_legacy(content, size)
    if start[8:9] == b"{":
        return read_safetensors(stream, size)
    raise UnfitFileError(
        "is not a PyTorch or safetensors checkpoint, or is cut off in its first bytes: download or "
        f"save it again (to save, {SAVE_ADVICE})"
    )


def _read_zip(stream, size):
    archive = zipfile.ZipFile(stream)
    # torch.save compresses nothing; what is compressed could unpack to any size.
    records = {r.filename: r for r in archive.infolist() if r.compress_type == zipfile.ZIP_STORED}
    roots = [name.removesuffix("data.pkl") for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise UnfitFileError(f"is a zip file, but not one that torch.save wrote: {SAVE_ADVICE}")
    if sum(record.file_size for record in records.values()) > size:
        raise ValueError("its records are larger than the file")

    def read_record(name):
        return read_entry(archive, records[roots[0] + name], "the file")

    order = read_record("byteorder") if roots[0] + "byteorder" in records else b"little"
    checkpoint = TorchUnpickler(io.BytesIO(read_record("data.pkl"))).load()

    def read_storage(storage):
        raw = read_record(f"data/{storage.key}")
        return _to_array(raw, storage, {b"little": "<", b"big": ">"}[order])

    return _arrays(checkpoint, read_storage)


def _read_legacy(stream, size):
    if [TorchUnpickler(stream).load() for _ in range(2)] != [_LEGACY_MAGIC, _LEGACY_VERSION]:
        raise UnfitFileError(f"is of a version that kdl does not read: {SAVE_ADVICE}")
    TorchUnpickler(stream).load()  # what its machine was like; the bytes are little-endian on all
    unpickler = TorchUnpickler(stream)
    checkpoint = unpickler.load()
    spans = {}
    for key in TorchUnpickler(stream).load():
        if type(key) is not str:
            raise ValueError("a storage lacks its key")
        (count,) = struct.unpack("<q", stream.read(8))
        length = count * itemsize(unpickler.storages[key].dtype)
        if not 0 <= length <= size - stream.tell():
            raise ValueError(f"the bytes of storage {key} are not all there")
        spans[key] = (stream.tell(), length)
        stream.seek(length, os.SEEK_CUR)

    def read_storage(storage):
        start, length = spans[storage.key]
        stream.seek(start)
        return _to_array(stream.read(length), storage)

    return _arrays(checkpoint, read_storage)


def _to_array(raw, storage, byteorder="<"):
    needed = storage.count * itemsize(storage.dtype)
    if len(raw) < needed:
        raise ValueError(f"storage {storage.key} has {len(raw)} of {needed} bytes")
    return array_from_bytes(raw[:needed], storage.dtype, byteorder)


def _arrays(checkpoint, read_storage):
    tensors = _named_tensors(checkpoint)
    storages = dict.fromkeys(tensor.storage for tensor in tensors.values())
    flat = {storage: read_storage(storage) for storage in storages}
    return {name: _view(name, tensor, flat[tensor.storage]) for name, tensor in tensors.items()}


def _named_tensors(checkpoint):
    tensors = _unwrapped(checkpoint, _DEEPEST_WRAPPER)
    if not tensors:
        raise UnfitFileError(
            f"holds no named tensors, neither at its top nor under {', '.join(_WRAPPERS)}: "
            f"{SAVE_ADVICE}"
        )
    return tensors


def _unwrapped(entries, depth):
    """The tensors under the first wrapper that has any, or else at the top."""
    if not isinstance(entries, dict):
        return {}
    tensors = {
        name: value
        for name, value in entries.items()
        if type(name) is str and isinstance(value, StoredTensor)
    }
    # Only at the top are tensors beside a wrapper no weights, but its averages' count and such.
    if not depth or (tensors and depth < _DEEPEST_WRAPPER):
        return tensors
    wrapped = (_unwrapped(entries.get(wrapper), depth - 1) for wrapper in _WRAPPERS)
    return next(filter(None, wrapped), tensors)


def _view(name, tensor, flat):
    _, offset, shape, strides = tensor
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError(f"tensor {name!r} has no proper shape and strides")
    if 0 in shape:
        return np.empty(shape, flat.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if last >= flat.size:
        raise ValueError(f"tensor {name!r} reaches outside its storage of {flat.size} elements")
    byte_strides = [stride * flat.itemsize for stride in strides]
    return np.ndarray(shape, flat.dtype, flat, offset * flat.itemsize, byte_strides)


def unwrapped_names(arrays):
    """Named arrays without what wrappers of PyTorch put into their names.

    These are the parts `_orig_mod.` of `torch.compile`, and a prefix `module.` that all names have
    in common, of data parallelism and averaging.

    Example:
        >>> unwrapped_names({"module._orig_mod.a": 1, "module._orig_mod.b": 2})
        {'a': 1, 'b': 2}
    """
    compiled = {name.replace("_orig_mod.", ""): array for name, array in arrays.items()}
    arrays = compiled if len(compiled) == len(arrays) else arrays
    # AveragedModel counts its steps beside the model that it wraps.
    names = [name for name in arrays if name != "n_averaged"]
    while names and all(name.startswith("module.") for name in names):
        arrays = {name.removeprefix("module."): arrays[name] for name in names}
        names = list(arrays)
    return arrays
