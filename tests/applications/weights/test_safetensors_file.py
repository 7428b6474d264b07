import io
import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kdl.applications.weights.safetensors_file import array_from_bytes, itemsize, read_safetensors

DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
ANY_ARRAY = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


def read(file):
    return read_safetensors(io.BytesIO(file), len(file))


def file_with(header, data):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5).filter(lambda name: name != "__metadata__"), ANY_ARRAY))
def test_safetensors_files_are_read_exactly(arrays):
    read_back = read(safetensors.numpy.save(arrays, metadata={"format": "pt"}))
    assert read_back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read_back[name].dtype == array.dtype
        assert read_back[name].shape == array.shape
        assert read_back[name].tobytes() == array.tobytes()


def test_safetensors_arrays_are_writable():
    values = read(safetensors.numpy.save({"a": np.zeros(2, "float32")}))["a"]
    values[0] = 1
    assert values.tolist() == [1, 0]


def test_bfloat16_becomes_float32():
    numbers = np.float32([1.5, -2.0, 3e38, np.inf, np.nan, 1e-40]).astype(ml_dtypes.bfloat16)
    values = read(file_with({"a": entry([2, 3], 0, 12, "BF16")}, numbers.tobytes()))["a"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, numbers.astype("float32").reshape(2, 3))


def test_file_truncated_anywhere_raises():
    arrays = {"a": np.arange(3.0), "b": np.ones((2, 2), "int16")}
    file = safetensors.numpy.save(arrays)
    for length in range(len(file)):
        with pytest.raises(ValueError, match=r"should have|should take|not all there"):
            read(file[:length])


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, 12, "overlap"),
        ({"a": entry([2], 0, 8), "b": entry([2], 12, 20)}, 20, "gap"),
        ({"a": entry([1], 4, 8)}, 8, "gap"),
        ({"a": entry([2], 0, 4)}, 4, "miss its shape"),
        ({"a": entry([10**15], 0, 4 * 10**15)}, 8, "not all there"),
        ({"a": entry([-1, -2], 0, 8)}, 8, "no whole numbers"),
        ({"a": entry([2.0], 0, 8)}, 8, "no whole numbers"),
        ({"a": entry([8], 0, 8, "F8_E4M3")}, 8, "dtype F8_E4M3; known are F64"),
        ({"a": entry([1], 0, 4)}, 5, "should take 4 bytes, 5 are there"),
    ],
)
def test_header_that_contradicts_the_bytes_raises(header, size, message):
    with pytest.raises(ValueError, match=message):
        read(file_with(header, bytes(size)))


def test_header_longer_than_the_file_raises():
    with pytest.raises(ValueError, match=r"should have 1099511627776 bytes, the file has 10"):
        read((1 << 40).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_array_from_bytes_in_either_byte_order(dtype, byteorder):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    numbers = np.array([0, 1, 2, 77]).astype(kind)
    swap = (byteorder == "<") != (np.little_endian)
    raw = (numbers.byteswap() if swap else numbers).tobytes()
    values = array_from_bytes(raw, dtype, byteorder)
    assert values.dtype == (np.float32 if dtype == "bfloat16" else kind)
    assert values.dtype.isnative
    assert itemsize(dtype) == kind.itemsize
    np.testing.assert_array_equal(values, numbers.astype(values.dtype))


def test_incomplete_element_raises():
    with pytest.raises(ValueError, match="multiple of element size"):
        array_from_bytes(b"123", "float16")
