import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdl.ops import channel_shuffle, channel_split


def numbered(channels, data_format="channels_last"):
    x = np.arange(2 * 3 * 4 * channels, dtype="float32").reshape(2, 3, 4, channels)
    return x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)


def to_numpy(x):
    return keras.ops.convert_to_numpy(x)


@given(groups=st.integers(1, 6), width=st.integers(1, 6))
def test_shuffle_transposes_the_groups(groups, width):
    x = numbered(groups * width)
    expected = x.reshape(2, 3, 4, groups, width).swapaxes(3, 4).reshape(x.shape)
    np.testing.assert_array_equal(to_numpy(channel_shuffle(x, groups)), expected)


@given(groups=st.integers(1, 6), width=st.integers(1, 6))
def test_shuffle_is_undone_by_the_shuffle_of_the_other_divisor(groups, width):
    x = numbered(groups * width)
    np.testing.assert_array_equal(to_numpy(channel_shuffle(channel_shuffle(x, groups), width)), x)


def test_shuffle_channels_first_moves_the_same_channels():
    x = numbered(12)
    first = channel_shuffle(numbered(12, "channels_first"), 3, "channels_first")
    np.testing.assert_array_equal(
        to_numpy(first).transpose(0, 2, 3, 1), to_numpy(channel_shuffle(x, 3))
    )


def test_shuffle_of_dynamic_sizes():
    inputs = keras.Input((None, None, 6))
    outputs = keras.layers.Lambda(lambda x: channel_shuffle(x, 2), output_shape=(None, None, 6))
    x = numbered(6)
    np.testing.assert_array_equal(
        to_numpy(keras.Model(inputs, outputs(inputs))(x)), to_numpy(channel_shuffle(x, 2))
    )


def test_shuffle_of_another_rank_raises():
    with pytest.raises(ValueError, match=r"rank 4 .* received shape \(2, 6\)"):
        channel_shuffle(np.zeros((2, 6)), 2)


def test_groups_that_do_not_divide_raise_with_near_ones():
    with pytest.raises(ValueError, match=r"groups=5 does not divide the 12 .* 3, 4, 6"):
        channel_shuffle(np.zeros((1, 2, 2, 12)), 5)


def test_unknown_data_format():
    with pytest.raises(ValueError, match="channels_last"):
        channel_shuffle(np.zeros((1, 2, 2, 12)), 2, "nhwc")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_split_is_inverted_by_concatenation(data_format):
    axis = -1 if data_format == "channels_last" else 1
    x = numbered(12, data_format)
    parts = channel_split(x, 3, data_format)
    assert [p.shape[axis] for p in parts] == [4, 4, 4]
    np.testing.assert_array_equal(to_numpy(keras.ops.concatenate(parts, axis=axis)), x)


def test_split_into_unequal_parts_raises():
    with pytest.raises(ValueError, match="sections=5 does not divide"):
        channel_split(np.zeros((1, 2, 2, 12)), 5)
