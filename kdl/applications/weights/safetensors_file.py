"""The safetensors format, and stored bytes as NumPy arrays."""

import json
import math

import numpy as np

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


# The format's own limit, and NumPy's.
_LARGEST_HEADER = 100_000_000
_LARGEST_RANK = 64


def read_safetensors(stream, size):
    r"""Reads every tensor of a safetensors file.

    The file is an 8-byte little-endian header length, a JSON header that gives each tensor's dtype,
    shape and range of bytes, and those bytes without gaps or overlaps.

    Args:
        stream: Binary stream of the file, at its start.
        size: Size of the file in bytes.

    Returns:
        Dict of names to arrays of their own memory. bfloat16 becomes float32.

    Raises:
        ValueError: If the header and the bytes do not fit each other, or a dtype is not one that
            NumPy has.
        KeyError, TypeError, AttributeError: If the header is JSON, but not of that form.

    Example:
        >>> import io
        >>> header = b'{"step": {"dtype": "I16", "shape": [], "data_offsets": [0, 2]}}'
        >>> file = len(header).to_bytes(8, "little") + header + b"\x07\x00"
        >>> read_safetensors(io.BytesIO(file), len(file))
        {'step': array(7, dtype=int16)}
    """
    header_size = int.from_bytes(stream.read(8), "little")
    if header_size > min(size - 8, _LARGEST_HEADER):
        raise ValueError(f"its header should have {header_size} bytes, the file has {size}")
    header = json.loads(stream.read(header_size))
    header.pop("__metadata__", None)
    tensors = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = _range_after(end, name, entry)
        if end > size - 8 - header_size:
            raise ValueError(f"the bytes of tensor {name!r} are not all there")
        tensors[name] = array_from_bytes(stream.read(end - begin), _DTYPES[entry["dtype"]])
        tensors[name] = tensors[name].reshape(entry["shape"])
    if end != size - 8 - header_size:
        raise ValueError(f"its tensors should take {end} bytes, {size - 8 - header_size} are there")
    return {name: tensors[name] for name in header}


def _range_after(previous_end, name, entry):
    begin, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], entry["shape"]
    if dtype not in _DTYPES:
        raise ValueError(f"tensor {name!r} has dtype {dtype}; known are {', '.join(_DTYPES)}")
    if len(shape) > _LARGEST_RANK:
        raise ValueError(f"tensor {name!r} has {len(shape)} axes")
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
        raise ValueError(f"tensor {name!r} has a shape or offsets that are no whole numbers")
    if begin != previous_end or end - begin != math.prod(shape) * itemsize(_DTYPES[dtype]):
        raise ValueError(f"the bytes of tensor {name!r} leave a gap, overlap, or miss its shape")
    return begin, end


def itemsize(dtype):
    """Bytes per element of a dtype given by name, `"bfloat16"` included.

    Example:
        >>> itemsize("bfloat16"), itemsize("float64")
        (2, 8)
    """
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def array_from_bytes(raw, dtype, byteorder="<"):
    r"""Turns stored bytes into a flat, writable array in the machine's own byte order.

    Args:
        raw: Bytes of all elements.
        dtype: Name of the stored dtype. `"bfloat16"`, which NumPy lacks, gives float32: its bits
            are the upper half of a float32's.
        byteorder: `"<"` for little-endian bytes (default), `">"` for big-endian ones.

    Returns:
        Array of one axis and of dtype `dtype`, or float32 for bfloat16.

    Raises:
        ValueError: If `raw` is not a whole number of elements.

    Example:
        >>> array_from_bytes(b"\xc0\x3f", "bfloat16")
        array([1.5], dtype=float32)
    """
    if dtype == "bfloat16":
        upper_half = np.frombuffer(raw, f"{byteorder}u2").astype("uint32")
        return (upper_half << 16).view("float32")
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder(byteorder)).astype(dtype)
