import argparse
import collections
import contextlib
import datetime
import functools
import io
import os
import pathlib
import pickle
import struct
import sys
import tempfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from mutation import assert_survives, mutations

from kdl.applications.weights.torch_file import read_state_dict

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
DTYPES = ["float64", "float32", "float16", "bfloat16", "bool"]
DTYPES += ["int64", "int32", "int16", "int8", "uint8"]


def saved(checkpoint, legacy, **options):
    import torch

    buffer = io.BytesIO()
    torch.save(checkpoint, buffer, _use_new_zipfile_serialization=not legacy, **options)
    return buffer.getvalue()


def read(file):
    """Reads a file of the given bytes."""
    with tempfile.NamedTemporaryFile() as named:
        named.write(file)
        named.flush()
        return read_state_dict(named.name)


def assert_as_torch_loads(file):
    import torch

    assert_equal(read(file), torch.load(io.BytesIO(file), weights_only=True))


def assert_equal(arrays, tensors):
    import torch

    assert list(arrays) == list(tensors)
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        assert arrays[name].dtype == tensor.numpy().dtype
        assert arrays[name].dtype.isnative
        assert arrays[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(arrays[name], tensor.numpy())


def rewritten(file, change):
    """Passes every record of a zip file, as name and bytes, through `change`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            for record in change(name, old.read(name)):
                new.writestr(*record)
    return buffer.getvalue()


# A checkpoint written opcode by opcode, so that it can say what PyTorch never would.


def number(value):
    return b"I%d\n" % value


def numbers(values):
    return b"(" + b"".join(number(value) for value in values) + b"t"


def tensor_opcodes(offset, shape, strides, count, rebuild=b"_rebuild_tensor", module=b"torch"):
    storage = b"(Vstorage\nc" + module + b"\nFloatStorage\nV0\nVcpu\n" + number(count) + b"NtQ"
    geometry = number(offset) + numbers(shape) + numbers(strides)
    return b"ctorch._utils\n" + rebuild + b"\n(" + storage + geometry + b"tR"


def legacy_file(tensor, elements):
    heads = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    count = struct.pack("<q", len(elements))
    return b"".join(
        [
            *(pickle.dumps(head, 2) for head in heads),
            b"(Vweight\n" + tensor + b"d.",
            pickle.dumps(["0"], 2) + count + np.asarray(elements, "<f4").tobytes(),
        ]
    )


def zip_file(tensor, elements):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        opcodes = b"(Vweight\n" + tensor.replace(b"NtQ", b"tQ") + b"d."
        archive.writestr("model/data.pkl", opcodes)
        archive.writestr("model/data/0", np.asarray(elements, "<f4").tobytes())
    return buffer.getvalue()


BY_HAND = pytest.mark.parametrize("write", [zip_file, legacy_file])


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype, legacy):
    import torch

    values = torch.tensor([0.0, 1.0, 2.5, 77.0, 120.0]).to(getattr(torch, dtype))
    assert_as_torch_loads(saved({"v": values, "scalar": values[2]}, legacy))


@FORMATS
def test_non_finite_and_negative_bfloat16(legacy):
    import torch

    values = torch.tensor([-1.5, torch.inf, -torch.inf, torch.nan, 1e-40, 3e38]).bfloat16()
    assert_as_torch_loads(saved({"v": values}, legacy))


@FORMATS
def test_views_of_one_storage(legacy):
    import torch

    base = torch.arange(24.0).reshape(2, 3, 4)
    views = {
        "base": base,
        "transposed": base.transpose(0, 2),
        "slice": base[1, ::2, 1:3],
        "expanded": base[0, 0, :1].expand(5, 1),
        "scalar": base[1, 2, 3],
        "none": base[:, 3:],
        "empty": torch.empty(0, 7),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(base * 2),
    }
    file = saved(views, legacy)
    assert_as_torch_loads(file)
    arrays = read(file)
    assert np.shares_memory(arrays["base"], arrays["transposed"])
    arrays["base"][1, 2, 3] = -1
    assert arrays["scalar"] == -1


@st.composite
def views(draw):
    """Draws `(count, offset, shape, strides)` of a view within a storage of `count` elements."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    strides = draw(st.lists(st.integers(0, 9), min_size=len(shape), max_size=len(shape)))
    offset, spare = draw(st.integers(0, 5)), draw(st.integers(0, 3))
    reach = sum((length - 1) * step for length, step in zip(shape, strides, strict=True) if length)
    return offset + reach + 1 + spare, offset, shape, strides


@settings(deadline=None)  # files take as long as the disk does
@given(views(), st.sampled_from(DTYPES), st.booleans())
def test_any_view(view, dtype, legacy):
    import torch

    count, offset, shape, strides = view
    storage = torch.arange(count).to(getattr(torch, dtype))
    tensor = torch.as_strided(storage, shape, strides, offset)
    assert_as_torch_loads(saved({"v": tensor, "shared": storage}, legacy))


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_dict_of_a_network_in_every_pickle_protocol(legacy, protocol):
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    file = saved(network.state_dict(), legacy, pickle_protocol=protocol)
    assert_equal(read(file), network.state_dict())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int16", "bool"])
def test_big_endian_zip_file_is_read(dtype):
    import torch

    values = torch.tensor([1.0, 2.0, 300.0]).to(getattr(torch, dtype))
    size = values.element_size()

    def swap(name, raw):
        if name.endswith("/byteorder"):
            raw = b"big"
        if "/data/" in name:
            raw = np.frombuffer(raw, f"V{size}").tobytes()[::-1]
        yield name, raw

    file = rewritten(saved({"v": values}, False), swap)
    assert read(file)["v"].tolist() == values.tolist()[::-1]
    assert_as_torch_loads(file)


def test_zip_file_without_byte_order_is_read_as_little_endian():
    import torch

    def drop(name, raw):
        if not name.endswith("/byteorder"):
            yield name, raw

    file = rewritten(saved({"v": torch.arange(3.0)}, False), drop)
    assert read(file)["v"].tolist() == [0, 1, 2]


@FORMATS
def test_torch_is_not_imported(legacy, tmp_path, monkeypatch):
    import torch

    (tmp_path / "a.pth").write_bytes(saved({"v": torch.ones(2)}, legacy))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert read_state_dict(tmp_path / "a.pth")["v"].tolist() == [1, 1]


def test_file_format_is_recognized_by_content(tmp_path):
    import torch

    files = [saved({"v": torch.ones(2)}, legacy) for legacy in (False, True)]
    files.append(safetensors.numpy.save({"v": np.ones(2, "float32")}))
    for file in files:
        for suffix in ("pth", "safetensors", "h5"):
            path = tmp_path / f"a.{suffix}"
            path.write_bytes(file)
            assert read_state_dict(str(path))["v"].tolist() == [1, 1]


@BY_HAND
@pytest.mark.parametrize("rebuild", [b"_rebuild_tensor", b"_rebuild_tensor_v2"])
def test_early_pytorch_gpu_file_is_read(write, rebuild):
    tensor = tensor_opcodes(1, [2, 2], [1, 2], 6, rebuild, module=b"torch.cuda")
    assert read(write(tensor, range(6)))["weight"].tolist() == [[1, 3], [2, 4]]


@FORMATS
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "model_ema"])
def test_training_checkpoints_are_unwrapped(wrapper, legacy):
    import torch

    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    checkpoint = {
        "epoch": 3,
        "best": 0.75,
        "arch": "linear",
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        wrapper: network.state_dict() | {"_extra_state": None, "note": "no tensor"},
    }
    arrays = read(saved(checkpoint, legacy))
    assert list(arrays) == ["weight", "bias"]
    np.testing.assert_array_equal(arrays["weight"], network.weight.detach().numpy())


def test_checkpoint_with_moving_average_loads_the_model():
    import torch

    checkpoint = {"model_ema": {"v": torch.zeros(1)}, "model": {"v": torch.ones(1)}}
    assert read(saved(checkpoint, False))["v"].tolist() == [1]


def test_unwrapping_goes_one_level_deep():
    import torch

    inner = {"v": torch.ones(1), "model": {"w": torch.ones(1)}}
    assert list(read(saved({"state_dict": inner}, False))) == ["v"]


@pytest.mark.parametrize(
    "wrapper", ["state_dict_ema", "ema", "net", "params", "params_ema", "weights", "module"]
)
def test_usual_wrappers_are_unwrapped(wrapper):
    import torch

    assert list(read(saved({"epoch": 3, wrapper: {"v": torch.ones(1)}}, False))) == ["v"]
    twice = {"ema": {wrapper: {"v": torch.ones(1)}, "updates": 7}}
    assert list(read(saved(twice, False))) == ["v"]


@FORMATS
def test_settings_beside_the_weights_are_ignored(legacy):
    import torch

    checkpoint = {
        "best": np.float64(0.7),
        "counts": np.arange(3),
        "history": collections.defaultdict(list, a=[1]),
        "args": argparse.Namespace(rate=0.1, milestones={30, 60}),
        "started": datetime.datetime(2020, 1, 1),
        "folder": pathlib.PurePosixPath("runs"),
        "dtype": torch.float32,
        "state_dict": collections.OrderedDict(v=torch.ones(2)),
    }
    assert_equal(read(saved(checkpoint, legacy)), {"v": torch.ones(2)})


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrapper_prefixes_are_stripped(prefix):
    file = safetensors.numpy.save({f"{prefix}a": np.ones(1), f"{prefix}b._orig_mod.c": np.ones(1)})
    assert sorted(read(file)) == ["a", "b.c"]


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_randomly_damaged_file_raises_value_error_or_loads(kind, tmp_path):
    import torch

    tensors = {"a": torch.ones(2, 3), "b.weight": torch.arange(4)}
    if kind == "safetensors":
        content = safetensors.numpy.save({name: v.numpy() for name, v in tensors.items()})
    else:
        content = saved({"state_dict": tensors, "best": np.float64(0.5)}, kind == "legacy")
    path = tmp_path / "damaged.pth"
    assert assert_survives(read_state_dict, path, mutations(content, 300)) > 50
    assert sorted(read(content)) == ["a", "b.weight"]


def test_non_string_names_are_dropped():
    import torch

    checkpoint = {0: torch.ones(1), "v": torch.ones(1), "model": 7, ("a",): torch.ones(1)}
    assert list(read(saved(checkpoint, False))) == ["v"]


def test_common_prefix_is_stripped():
    import torch

    network = torch.nn.Linear(2, 1)
    averaged = torch.optim.swa_utils.AveragedModel(network).state_dict()
    assert list(averaged) == ["n_averaged", "module.weight", "module.bias"]
    assert list(read(saved(averaged, False))) == ["weight", "bias"]
    file = safetensors.numpy.save({"module.a": np.ones(1), "module.module.b": np.ones(1)})
    assert sorted(read(file)) == ["a", "module.b"]
    file = safetensors.numpy.save({"module.a": np.ones(1), "modules.b": np.ones(1)})
    assert sorted(read(file)) == ["module.a", "modules.b"]


@FORMATS
@pytest.mark.parametrize(
    "checkpoint", [{}, [1, 2], 7, {"epoch": 3}, {"net": {"v": 1}}, {"model": {}}]
)
def test_checkpoint_without_named_tensors_raises(checkpoint, legacy):
    with pytest.raises(ValueError, match=r"holds no named tensors.*weights: save model"):
        read(saved(checkpoint, legacy))


@FORMATS
def test_pickled_module_raises_with_its_name(legacy):
    import torch

    with pytest.raises(ValueError, match=r"holds a pickled `torch\.nn\.modules\.linear\.Linear`"):
        read(saved(torch.nn.Linear(2, 1), legacy))


@FORMATS
def test_pickled_code_is_not_executed(legacy, tmp_path, monkeypatch):
    import torch

    class Payload:
        def __reduce__(self):
            return os.system, ("mkdir ran",)

    monkeypatch.chdir(tmp_path)
    file = saved({"v": torch.ones(1), "payload": Payload()}, legacy)
    with pytest.raises(ValueError, match=r"pickled `\w+\.system`, which kdl does not execute"):
        read(file)
    assert not os.listdir()
    torch.load(io.BytesIO(file), weights_only=False)  # the file is one that acts
    assert os.listdir() == ["ran"]


def test_torchscript_file_raises():
    import torch

    buffer = io.BytesIO()
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 1)), buffer)
    with pytest.raises(ValueError, match=r"`__torch__.*Linear`, which kdl does not execute"):
        read(buffer.getvalue())


def test_missing_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist: .*download"):
        read_state_dict(tmp_path / "none.pth")


def test_folder_raises(tmp_path):
    with pytest.raises(ValueError, match="is not a file: give the path of a checkpoint"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80\x02}q\x00.",
        b"<!DOCTYPE html><html>Not found</html>",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
        bytes(100),
        pickle.dumps({"w": [1.0]}),
    ],
)
def test_file_that_is_no_checkpoint_raises(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth is not a PyTorch .*download or save it ag"):
        read_state_dict(path)


def test_other_zip_files_raise(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.ones(2))
    with pytest.raises(ValueError, match=r"a\.npz is a zip file, but not one that torch\.save"):
        read_state_dict(path)


@functools.cache
def small_files():
    import torch

    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2).bfloat16().t(), "c": torch.tensor(7)}
    checkpoint = collections.OrderedDict(model=tensors, optimizer={"m": torch.ones(2)}, epoch=1)
    arrays = {"a": np.arange(3.0), "b": np.ones((2, 2), "int16")}
    return [saved(checkpoint, False), saved(checkpoint, True), safetensors.numpy.save(arrays)]


def test_file_truncated_at_any_byte_raises(tmp_path):
    path = tmp_path / "cut.pth"
    for file in small_files():
        path.write_bytes(file)
        assert len(read_state_dict(path)) >= 2
        for length in reversed(range(len(file))):
            os.truncate(path, length)
            with pytest.raises(ValueError, match=r"cut\.pth is .*download or save it again"):
                read_state_dict(path)


@settings(deadline=None)  # files take as long as the disk does
@given(st.data())
def test_damaged_file_loads_or_raises_value_error(data):
    file = bytearray(data.draw(st.sampled_from(small_files())))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        for array in read(bytes(file)).values():
            assert array.size <= len(file)
            array.sum()


def test_flipped_bit_in_a_zip_storage_raises():
    import torch

    file = saved({"v": torch.full((4,), 1.5)}, False)
    start = file.index(struct.pack("<4f", *[1.5] * 4))
    damaged = file[:start] + bytes([file[start] ^ 1]) + file[start + 1 :]
    with pytest.raises(ValueError, match=r"corrupt .*CRC-32"):
        read(damaged)


@BY_HAND
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, [7], [1]),
        (1, [6], [1]),
        (6, [], []),
        (10**30, [1], [1]),
        (0, [2, 2], [1, 5]),
        (0, [2], [2**62]),
        (0, [2**40, 2**40], [1, 1]),
    ],
)
def test_tensor_outside_its_storage_raises(write, offset, shape, strides):
    file = write(tensor_opcodes(offset, shape, strides, 6), range(6))
    with pytest.raises(ValueError, match="'weight' reaches outside its storage of 6 elements"):
        read(file)


@BY_HAND
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(-1, [1], [1]), (0, [-1], [1]), (5, [3], [-1]), (0, [2], []), (0, [], [1])],
)
def test_invalid_shapes_and_strides_raise(write, offset, shape, strides):
    file = write(tensor_opcodes(offset, shape, strides, 6), range(6))
    with pytest.raises(ValueError, match="'weight' has no proper shape and strides"):
        read(file)


@BY_HAND
def test_crafted_sizes_raise_without_allocation(write):
    huge = 2**33
    crafted = [
        tensor_opcodes(0, [huge], [1], 6),
        tensor_opcodes(0, [huge], [1], huge),
        tensor_opcodes(0, [0, huge, huge], [1, 1, 1], 6),
        tensor_opcodes(0, [2**30] * 9, [0] * 9, 6),
    ]
    tracemalloc.start()
    for tensor in crafted:
        file = write(tensor, range(6))
        with pytest.raises(ValueError, match="corrupt"):
            read(file)
    expanded = read(write(tensor_opcodes(0, [huge], [0], 6), range(6)))["weight"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert expanded.shape == (huge,)
    assert peak < 1 << 22


@BY_HAND
def test_storage_smaller_than_described_raises(write):
    with pytest.raises(ValueError, match=r"storage 0 has 20 of 24 bytes"):
        read(write(tensor_opcodes(0, [2], [1], 6), range(5)))


def test_legacy_storage_of_negative_size_raises():
    file = legacy_file(tensor_opcodes(0, [1], [1], 1), [1.0])
    damaged = file.replace(struct.pack("<q", 1), struct.pack("<q", -1))
    with pytest.raises(ValueError, match="storage 0 are not all there"):
        read(damaged)


def test_unknown_legacy_version_raises():
    file = legacy_file(tensor_opcodes(0, [1], [1], 1), [1.0])
    with pytest.raises(ValueError, match="is of a version that kdl does not read"):
        read(file.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)))


def test_zip_records_larger_than_the_file_raise():
    file = zip_file(tensor_opcodes(0, [1], [1], 1), [1.0])

    def compress(name, raw, only):
        yield name, raw, zipfile.ZIP_DEFLATED if only in name else zipfile.ZIP_STORED

    with pytest.raises(ValueError, match="zip file, but not one that"):
        read(rewritten(file, functools.partial(compress, only="data.pkl")))
    with pytest.raises(ValueError, match=r"corrupt .*KeyError: 'model/data/0'"):
        read(rewritten(file, functools.partial(compress, only="data/0")))
    # The directory of the file claims a gigabyte for the four bytes of the storage.
    entry = file.rindex(b"PK\x01\x02")
    sizes = struct.pack("<2I", 1 << 30, 1 << 30)
    with pytest.raises(ValueError, match="records are larger than the file"):
        read(file[: entry + 20] + sizes + file[entry + 28 :])


def test_strides_of_single_elements_are_ignored():
    file = zip_file(tensor_opcodes(2, [2, 1], [3, 99], 6), range(6))
    assert read(file)["weight"].tolist() == [[2], [5]]
