"""Damages files in the ways that disks, networks and people do, the same at every run."""

import time
import tracemalloc
import warnings

import numpy as np

# Words that readers stumble over: zeros, ones, signs, and lengths that no file has.
_WORDS = [0, 1, 2, 7, 0x7F, 0xFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]


def _flip(content, rng):
    for _ in range(rng.integers(1, 5)):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return content


def _set_word(content, rng):
    place = int(rng.integers(max(len(content) - 4, 1)))
    place -= place % 4 * int(rng.integers(2))
    content[place : place + 4] = int(rng.choice(_WORDS)).to_bytes(4, "little")
    return content


def _swap_words(content, rng):
    one, other = (4 * int(rng.integers(max(len(content) // 4, 1))) for _ in range(2))
    content[one : one + 4] = content[other : other + 4]
    return content


def _cut(content, rng):
    return content[: rng.integers(len(content))]


def _cut_out(content, rng):
    start = int(rng.integers(len(content)))
    del content[start : start + int(rng.integers(1, 64))]
    return content


def _insert(content, rng):
    place = int(rng.integers(len(content)))
    content[place:place] = rng.bytes(int(rng.integers(1, 64)))
    return content


def _double(content, rng):
    start = int(rng.integers(len(content)))
    block = content[start : start + int(rng.integers(1, 256))]
    content[start:start] = block
    return content


_KINDS = (_flip, _set_word, _set_word, _swap_words, _cut, _cut_out, _insert, _double)


def mutations(content, count, seed=0):
    """Yields `count` damaged copies of `content`, each of one or two changes."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 3)):
            if changed:
                changed = _KINDS[rng.integers(len(_KINDS))](changed, rng)
        yield bytes(changed)


def assert_survives(use, path, contents, memory=64 << 20, seconds=10):
    """Asserts of each content that `use(path)` works, or raises an error that names the file.

    Args:
        use: Function of a path.
        path: Where the contents are written, one after the other.
        contents: The damaged files.
        memory: Bytes that Python may allocate at most in one call.
        seconds: What one call may take at most; far more than it does.

    Returns:
        How many contents were refused.
    """
    refused = 0
    tracemalloc.start()
    try:
        for content in contents:
            path.write_bytes(content)
            tracemalloc.reset_peak()
            begin, start = tracemalloc.get_traced_memory()[0], time.monotonic()
            error = _error_of(use, path)
            refused += error is not None
            assert error is None or str(path) in str(error), f"{error!r} does not name the file"
            assert tracemalloc.get_traced_memory()[1] - begin < memory
            assert time.monotonic() - start < seconds
    finally:
        tracemalloc.stop()
    return refused


def _error_of(use, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            use(path)
        except (ValueError, OSError) as error:
            return error
    return None
