"""Safe reading of HDF5 files of unknown origin: no links outside, no unexplained sizes."""

import contextlib
import math
import os
import zlib

# Weights hardly pack: a file explains a hundred times its size, and 64 MiB in any case.
_FREE = 64 << 20
_RATIO = 100
# The filters of packed data that are undone within the size of a chunk: gzip, shuffle, Fletcher's
# checksum and LZF. HDF5 itself lets gzip write as much as a chunk unpacks to.
_GZIP = 1
_FILTERS = (_GZIP, 2, 3, 32000)
_CHECKSUM = 4  # bytes


@contextlib.contextmanager
def open_hdf5(file, size=None):
    """Opens an HDF5 file for reading, after a look at all that it refers to.

    Args:
        file: Path, or binary stream.
        size: Bytes of the file; by default asked of the path.

    Returns:
        Context manager that gives the `h5py.File`.

    Raises:
        ValueError: If it links to other files or other names, keeps data in other files, describes
            far more data than its size explains, or packs more into a data set than it describes.
        Exception: Of nearly any type, if it is damaged.
    """
    import h5py

    size = os.path.getsize(file) if size is None else size
    with h5py.File(file, "r") as opened:
        described = _Described(max(_FREE, _RATIO * size))
        # HDF5 stops at what is not None. An exception would not come through it whole.
        fault = opened.visititems_links(_link_fault) or opened.visititems(described.fault)
        if fault:
            raise ValueError(fault)
        yield opened


def _link_fault(name, link):
    import h5py

    if isinstance(link, h5py.HardLink):
        return None
    return f"{name!r} is a link to elsewhere, which kdl does not follow"


class _Described:
    """Adds up the bytes of all data sets, whether they are stored or only described."""

    def __init__(self, limit) -> None:
        self._left = limit

    def fault(self, name, node):
        import h5py

        if not isinstance(node, h5py.Dataset):
            return None
        if node.external or node.is_virtual:
            return f"{name!r} keeps its data in other files, which kdl does not read"
        self._left -= _size_in_memory(node)
        if self._left < 0:
            return f"{name!r} of shape {node.shape} is larger than the file explains"
        return _packing_fault(name, node)


def _size_in_memory(node):
    """Bytes of a data set whose chunks, if it has any, are whole."""
    shape = node.shape or ()
    if node.chunks:
        shape = [-(-size // chunk) * chunk for size, chunk in zip(shape, node.chunks, strict=True)]
    return math.prod(shape) * node.dtype.itemsize


def _packing_fault(name, node):
    """Fault in the packing of a data set, or None."""
    settings = node.id.get_create_plist()
    filters = [settings.get_filter(place)[0] for place in range(settings.get_nfilters())]
    unknown = [number for number in filters if number not in _FILTERS]
    if unknown or filters.count(_GZIP) > 1:
        packed = f"with the filter {unknown[0]}" if unknown else "twice"
        return f"{name!r} is packed {packed}; kdl reads what is packed once, with gzip or LZF"
    if _GZIP not in filters:
        return None
    most = math.prod(node.chunks) * node.dtype.itemsize + _CHECKSUM
    bit = 1 << filters.index(_GZIP)  # set in the mask of a chunk that was left as it is
    stored = []
    node.id.chunk_iter(stored.append)
    for chunk in stored:
        if not chunk.filter_mask & bit and _unpacks_to_more(node, chunk, most):
            return f"{name!r} unpacks to more than its shape {node.shape} describes"
    return None


def _unpacks_to_more(node, chunk, most):
    _, packed = node.id.read_direct_chunk(chunk.chunk_offset)
    return len(zlib.decompressobj().decompress(packed, most + 1)) > most
