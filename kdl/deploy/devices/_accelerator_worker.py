"""Run as a script: `python _accelerator_worker.py FILE OUTPUTS.npz gpu|cpu|plain`.

It runs a `.tflite` file once, on random inputs, on one of LiteRT's accelerators, or by the plain
kernels that its interpreter has besides. Native code of an accelerator may end the process: that is
why it is one of its own, which imports nothing of kdl.
"""

import sys

import numpy as np


def main(path, outputs, accelerator):
    """Writes the results as arrays `0`, `1`, …; the inputs are the same in every run."""
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    # One accelerator alone: with a second one, what the first refuses would pass unnoticed.
    chosen = HardwareAccelerator.GPU if accelerator == "gpu" else HardwareAccelerator.CPU
    model = CompiledModel.from_file(path, hardware_accel=chosen)
    print("compiled", flush=True)
    key, names = next(iter(model.get_signature_list().items()))
    details = model.get_input_tensor_details(key)
    rng = np.random.default_rng(0)
    inputs = {
        name: _random(rng, _shape(details[name]), np.dtype(details[name]["dtype"]))
        for name in names["inputs"]
    }
    run = _run_plainly if accelerator == "plain" else _run
    found = run(path, model, key, inputs, names["outputs"])
    np.savez(outputs, **{str(number): values for number, values in enumerate(found)})


def _run(path, model, key, inputs, outputs):
    """The results of the accelerator for which the model was compiled."""
    takes, gives = model.create_input_buffers(0), model.create_output_buffers(0)
    for values, buffer in zip(inputs.values(), takes, strict=True):
        buffer.write(values)
    model.run_by_index(0, takes, gives)
    details = model.get_output_tensor_details(key)
    results = []
    for name, buffer in zip(outputs, gives, strict=True):
        shape = _shape(details[name])
        values = buffer.read(int(np.prod(shape)), details[name]["dtype"])
        results.append(values.reshape(shape))
    return results


def _run_plainly(path, model, key, inputs, outputs):
    """The results of the interpreter's own kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(path, experimental_op_resolver_type=plain)
    found = interpreter.get_signature_runner(key)(**inputs)
    return [found[name] for name in outputs]


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
