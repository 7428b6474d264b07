"""Run as a script, `_profile_worker.py model.tflite runs`: the time of each operation.

LiteRT has a profiler, but its Python does not offer it: this calls the C interface of the library
that comes with the package. It is a process of its own, since a library of another version may
take other arguments, and then ends the process.

Source: `litert_compiled_model.h`, `litert_profiler.h`, `litert_profiler_event.h` of LiteRT 2.3.
"""

import ctypes
import importlib.util
import json
import os
import sys

_CPU = 1
# Kinds of events that are single operations: of the interpreter, and of XNNPACK.
_OPERATIONS = (1 << 1, 1 << 2, 1 << 3)

_Handle = ctypes.c_void_p
_Index = ctypes.c_size_t


class _Event(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start", ctypes.c_uint64),
        ("microseconds", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    )


class _TensorType(ctypes.Structure):
    """`LiteRtRankedTensorType` with its `LiteRtLayout`."""

    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint, 7),
        ("has_strides", ctypes.c_uint, 1),
        ("sizes", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


class _Library:
    """Calls `LiteRt…` functions, which return 0 or an error."""

    def __init__(self):
        package = importlib.util.find_spec("ai_edge_litert").submodule_search_locations[0]
        self._library = ctypes.CDLL(os.path.join(package, "libLiteRt.so"))

    def call(self, name, *arguments):
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status:
            raise RuntimeError(f"LiteRt{name} returned {status}")

    def make(self, name, *arguments, kind=_Handle):
        """Text that a function writes to its last argument."""
        result = kind()
        self.call(name, *arguments, ctypes.byref(result))
        return result


def main(path, runs):
    """Prints `[[name, [microseconds of each run]], …]` in the order of execution, as JSON."""
    library = _Library()
    environment = library.make("CreateEnvironment", 0, None)
    model = library.make("CreateModelFromFile", environment, os.fsencode(path))
    compiled = library.make("CreateCompiledModel", environment, model, _options(library))
    signature = library.make("GetModelSignature", model, _Index(0))
    tensors = [
        _tensors(library, environment, compiled, signature, way) for way in ("Input", "Output")
    ]
    run = (compiled, _Index(0), *(a for t in tensors for a in (_Index(len(t)), t)))
    profiler = library.make("CompiledModelGetProfiler", compiled)
    for _ in range(5):
        library.call("RunCompiledModel", *run)
    collected = []
    for _ in range(runs):  # one at a time, since the profiler keeps a limited number of events
        library.call("ResetProfiler", profiler)
        library.call("StartProfiler", profiler)
        library.call("RunCompiledModel", *run)
        library.call("StopProfiler", profiler)
        collected.append(_read(library, profiler))
    names = [[name for name, _ in events] for events in collected]
    if not names[0] or any(other != names[0] for other in names):
        raise RuntimeError("the operations differ from run to run")
    times = zip(*([time for _, time in events] for events in collected), strict=True)
    print(json.dumps(list(zip(names[0], times, strict=True))))


def _options(library):
    options = library.make("CreateOptions")
    library.call("SetOptionsHardwareAccelerators", options, _CPU)
    _options.kept = text = ctypes.create_string_buffer(b"enable_profiling = true\n")
    _options.release = release = ctypes.CFUNCTYPE(None, _Handle)(lambda pointer: None)
    payload = ctypes.cast(text, _Handle)
    opaque = library.make("CreateOpaqueOptions", b"runtime_options_string", payload, release)
    library.call("AddOpaqueOptions", options, opaque)
    return options


def _tensors(library, environment, compiled, signature, way):
    """Memory for all inputs or all outputs."""
    count = library.make(f"GetNumSignature{way}s", signature, kind=_Index).value
    buffers = (_Handle * count)()
    for i in range(count):
        tensor = library.make(f"GetSignature{way}TensorByIndex", signature, _Index(i))
        kind = library.make("GetRankedTensorType", tensor, kind=_TensorType)
        if any(size < 0 for size in kind.sizes[: kind.rank]):
            _fix_sizes(library, compiled, i, kind, resize=way == "Input")
        needs = library.make(
            f"GetCompiledModel{way}BufferRequirements", compiled, _Index(0), _Index(i)
        )
        buffers[i] = library.make(
            "CreateManagedTensorBufferFromRequirements", environment, ctypes.byref(kind), needs
        )
    return buffers


def _fix_sizes(library, compiled, position, kind, resize):
    """Puts 1 in place of dynamic dimensions, as the interpreter does unless it is told otherwise.

    A buffer has a size. What an input has, LiteRT hands on to the outputs.
    """
    sizes = [max(size, 1) for size in kind.sizes[: kind.rank]]
    kind.sizes[: kind.rank] = sizes
    if resize:
        given = (ctypes.c_int * len(sizes))(*sizes)
        where = (_Index(0), _Index(position))
        library.call("CompiledModelResizeInputTensor", compiled, *where, given, _Index(len(sizes)))


def _read(library, profiler):
    count = library.make("GetNumProfilerEvents", profiler, kind=ctypes.c_int)
    events = (_Event * count.value)()
    library.call("GetProfilerEvents", profiler, count, events)
    return [(e.name.decode(), e.microseconds) for e in events if e.kind in _OPERATIONS]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
