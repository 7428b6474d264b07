"""Run as a script: `python _accelerator_worker.py FILE OUTPUTS.npz gpu|cpu`.

It runs a `.tflite` file once, on random inputs, on one of LiteRT's accelerators. Native code of an
accelerator may end the process: that is why it is one of its own, which imports nothing of kdl.
"""

import sys

import numpy as np


def main(path, outputs, accelerator):
    """Writes the results as arrays `0`, `1`, …; the inputs are the same in every run."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    # One accelerator alone: with a second one, what the first refuses would pass unnoticed.
    chosen = {"gpu": HardwareAccelerator.GPU, "cpu": HardwareAccelerator.CPU}[accelerator]
    model = CompiledModel.from_file(path, hardware_accel=chosen)
    print("compiled", flush=True)
    key, names = next(iter(model.get_signature_list().items()))
    takes, gives = model.create_input_buffers(0), model.create_output_buffers(0)
    rng = np.random.default_rng(0)
    details = model.get_input_tensor_details(key)
    for name, buffer in zip(names["inputs"], takes, strict=True):
        buffer.write(_random(rng, _shape(details[name]), np.dtype(details[name]["dtype"])))
    model.run_by_index(0, takes, gives)
    details = model.get_output_tensor_details(key)
    results = {}
    for number, (name, buffer) in enumerate(zip(names["outputs"], gives, strict=True)):
        shape = _shape(details[name])
        values = buffer.read(int(np.prod(shape)), details[name]["dtype"])
        results[str(number)] = values.reshape(shape)
    np.savez(outputs, **results)


def _shape(details):
    return [max(int(n), 1) for n in details["shape"]]


def _random(rng, shape, dtype):
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    if dtype.itemsize > 1:  # indices, more often than not: small enough for any table
        return rng.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
