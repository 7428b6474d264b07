import collections
import contextlib
import io
import os
import pickle
import tracemalloc

import pytest

from kdl.applications.weights.torch_pickle import (
    STORAGE_DTYPES,
    Storage,
    StoredTensor,
    TorchUnpickler,
    UnfitFileError,
)

# Opcodes of protocol 0 and 1, so that a pickle can be written down by hand.
STORAGE = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\ntQ"
HOOKS = b"ccollections\nOrderedDict\n)R"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"I0\n(I2\nI3\nt(I3\nI1\ntI00\n%st"
TENSOR = TENSOR % HOOKS + b"R"


def load(data):
    return TorchUnpickler(io.BytesIO(data)).load()


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_pickled_tensor_is_described_not_built():
    unpickler = TorchUnpickler(io.BytesIO(TENSOR + b"."))
    storage = Storage("0", "float32", 6)
    assert unpickler.load() == StoredTensor(storage, 0, (2, 3), (3, 1))
    assert unpickler.storages == {"0": storage}


@pytest.mark.parametrize("protocol", range(6))
def test_builtin_containers_are_loaded(protocol):
    ordered = collections.OrderedDict(a=1)
    ordered.note = "kept by pickle in __dict__"
    containers = {"o": ordered, "l": [1.5, None, True], "t": (b"x", 10**30), "s": {1}}
    # The pickles of sets and bytes name builtins in the oldest protocols.
    if protocol < 4:
        containers = {"o": ordered, "l": [1.5, None, True], "t": (10**30,)}
    loaded = load(pickle.dumps(containers, protocol))
    assert loaded == containers
    assert loaded["o"].note == ordered.note


def test_counters_devices_and_sizes_become_builtin_types():
    assert load(pickle.dumps(collections.Counter(a=2))) == {"a": 2}
    assert load(b"ctorch\nSize\n((I2\nI3\nttR.") == (2, 3)
    assert load(b"ctorch\ndevice\n(Vcuda\nI0\ntR.") is None


@pytest.mark.parametrize("module", ["torch", "torch.cuda"])
@pytest.mark.parametrize("name", STORAGE_DTYPES)
def test_cpu_and_gpu_storages_are_read(module, name):
    pid = STORAGE.replace(b"ctorch\nFloatStorage", f"c{module}\n{name}".encode())
    assert load(pid + b".") == Storage("0", STORAGE_DTYPES[name], 6)


@pytest.mark.parametrize(
    "call",
    [
        Calls(os.mkdir, "ran"),
        Calls(os.system, "mkdir ran"),
        Calls(eval, "__import__('os').mkdir('ran')"),
        Calls(exec, "__import__('os').mkdir('ran')"),
    ],
)
@pytest.mark.parametrize("protocol", range(6))
def test_pickled_calls_raise_and_are_not_made(call, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"weight": call}, protocol)
    name = call.call[0].__name__
    with pytest.raises(UnfitFileError, match=rf"holds a pickled `\w+\.{name}`, which kdl does not"):
        load(data)
    assert not os.listdir()
    pickle.loads(data)  # the pickle is one that acts
    assert os.listdir() == ["ran"]


@pytest.mark.parametrize(
    "named",
    [
        b"ccollections\nOrderedDict.fromkeys\n",
        b"\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93",
        b"ctorch._utils\n_rebuild_qtensor\n",
        b"ctorch.storage\n_load_from_bytes\n",
        b"cnumpyro\nndarray\n",
        b"cbuiltins\ngetattr\n",
        b"ctypes\nFunctionType\n",
        b"(icollections\ndeque\n",
    ],
)
def test_names_similar_to_admitted_ones_raise(named):
    with pytest.raises(UnfitFileError, match="which kdl does not execute"):
        load(named + b".")


@pytest.mark.parametrize(
    "state", [b"(V__defaults__\nVx\nd", b"N(V__defaults__\n(Vx\ntd\x86", b"N(V__code__\nNd\x86"]
)
@pytest.mark.parametrize("target", [b"ctorch._utils\n_rebuild_tensor_v2\n", TENSOR, STORAGE])
def test_pickle_cannot_change_later_loads(target, state):
    # Setting attributes may succeed on a stand-in, which then lives no longer than its pickle.
    with contextlib.suppress(AttributeError, TypeError):
        load(target + state + b"b.")
    assert load(TENSOR + b".") == StoredTensor(Storage("0", "float32", 6), 0, (2, 3), (3, 1))


def test_forged_storage_raises():
    with pytest.raises(ValueError, match="lacks its storage"):
        load(TENSOR.replace(STORAGE, b"(V0\nVO\nI6\nt") + b".")


@pytest.mark.parametrize(
    "pid",
    [
        STORAGE.replace(b"I6", b"I-6"),
        STORAGE.replace(b"I6", b"F6.0"),
        STORAGE.replace(b"I6", b"I01"),
        STORAGE.replace(b"V0", b"I0"),
        STORAGE + b"0" + STORAGE.replace(b"I6", b"I7"),
        STORAGE + b"0" + STORAGE.replace(b"Float", b"Int"),
    ],
)
def test_storages_without_a_valid_description_raise(pid):
    with pytest.raises(ValueError, match=r"lacks its key or its size|described in two ways"):
        load(pid + b".")


def test_undescribable_objects_raise():
    for pid in (
        STORAGE.replace(b"storage", b"module"),
        STORAGE.replace(b"tQ", b"(V1\nI0\nI2\nttQ"),
    ):
        with pytest.raises(UnfitFileError, match="module or a view of a storage"):
            load(pid + b".")
    negated = TENSOR.replace(b"%stR" % HOOKS, b"%s(Vneg\nI01\ndtR" % HOOKS)
    with pytest.raises(UnfitFileError, match="negated"):
        load(negated + b".")


def test_huge_memo_raises_without_allocation():
    tracemalloc.start()
    with pytest.raises(ValueError, match="numbers more objects than it has"):
        load(b"Nr\xff\xff\xff\x0f.")  # LONG_BINPUT 2²⁸: two GiB of slots
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def nested(depth):
    """Opcodes of a tuple of twice a tuple of twice …, and what holds it."""
    return b"I1\n" + b"".join(b"q%c0h%ch%c\x86" % ((i,) * 3) for i in range(depth))


@pytest.mark.parametrize(
    "opcodes",
    [
        b"}" + nested(60) + b"Ns.",
        b"}(" + nested(60) + b"Nu.",
        b"(" + nested(60) + b"Nd.",
        b"\x8f(" + nested(60) + b"\x90.",
        b"(" + nested(60) + b"\x91.",
        b"ccollections\nOrderedDict\n((" + nested(60) + b"Nl(ltR.",
        b"(Vstorage\n" + nested(60) + b"V0\nVcpu\nI6\ntQ.",
    ],
    ids=["SETITEM", "SETITEMS", "DICT", "ADDITEMS", "FROZENSET", "OrderedDict", "storage"],
)
def test_key_too_expensive_to_hash_raises(opcodes):
    with pytest.raises((ValueError, TypeError)):
        load(opcodes)


def test_tuple_of_many_names_is_loaded():
    names = tuple(f"class {n}" for n in range(5000))
    assert load(pickle.dumps({"names": names, ("a", 1): 2})) == {"names": names, ("a", 1): 2}


@pytest.mark.parametrize("size", [b"ctorch\nSize\n(Vaaaaaaaaaaaaaaaa\ntR", b"ctorch\nSize\n((ltR"])
def test_sizes_of_other_types_raise(size):
    with pytest.raises(ValueError, match="not made of numbers"):
        load(size + b".")


def test_repeated_list_elements_take_no_memory():
    pairs = b"(l" + b"(Vk%d\nI1\nta" * 2000 % tuple(range(2000)) + b"p0\n"
    again = b"ccollections\nOrderedDict\n(g0\ntR0" * 5000
    with pytest.raises(ValueError, match="not made of named entries"):
        load(pairs + again + b".")


def test_consecutive_pickles_are_read_in_turn():
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps("two", 4) + b"rest")
    assert TorchUnpickler(stream).load() == [1]
    assert TorchUnpickler(stream).load() == "two"
    assert stream.read() == b"rest"
