"""Run as `python -m kdl.deploy._worker job.json`: converts a saved model with TensorFlow.

With `--keep` it reads one job a line from its input, and forks for each.
"""

import importlib
import json
import os
import runpy
import sys
import traceback


def main(job_file):
    """Carries out a job of `kdl.deploy.conversion`; an exception becomes its report."""
    with open(job_file) as file:
        job = json.load(file)
    try:
        _convert(job)
    except Exception as error:
        general = [kind for kind in (ImportError, OSError) if isinstance(error, kind)]
        kind = (general or [type(error)])[0].__name__
        with open(job["report"], "w") as file:
            json.dump({"type": kind, "message": str(error)}, file)
        return 1
    return 0


def keep():
    """Carries out each job of the input in a fork, and prints its exit status."""
    import tensorflow  # noqa: F401

    import kdl.applications
    import kdl.layers  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _fork(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _fork(request):
    """Carries out one job as a process of its own would, and ends."""
    code = 1
    try:
        with open(request["messages"], "w") as messages, open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(messages.fileno(), 1)
            os.dup2(messages.fileno(), 2)
        sys.path[:] = request["path"]
        os.chdir(request["folder"])
        code = main(request["job"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _convert(job):
    import tensorflow as tf

    module, function = _serving_function(tf, _load(job), job)
    for kind, path in job["targets"].items():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
        _set_quantization(tf, converter, kind, job["representative_data"])
        content = converter.convert()
        with open(path, "wb") as file:
            file.write(content)


def _load(job):
    import keras

    for entry in job["import"]:
        if entry.get("script"):
            # As multiprocessing does: the script's classes, without its `__main__` block.
            sys.modules["__main__"].__dict__.update(runpy.run_path(entry["script"], run_name="kdl"))
        elif entry.get("module"):
            importlib.import_module(entry["module"])
    return keras.models.load_model(job["model"], compile=False, safe_mode=False)


def _serving_function(tf, model, job):
    """A `tf.Module` that holds the variables, and the concrete function with named ends.

    The converter needs an object that owns the variables in order to write a signature; given the
    Keras model itself, it writes unfolded variables that read as NaN.
    """
    import keras

    from kdl.ops import lowering_scope

    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]
    spec = tf.TensorSpec(job["input_shape"], job["input_dtype"], name=job["input_name"])

    @tf.function(input_signature=[spec])
    def serve(image):
        outputs = keras.tree.flatten(model(image, training=False))
        return dict(zip(job["output_names"], outputs, strict=True))

    module.serve = serve
    with lowering_scope("device"):
        return module, serve.get_concrete_function()


def _set_quantization(tf, converter, kind, representative_data):
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        if representative_data is not None:
            converter.representative_dataset = lambda: _batches(converter, representative_data)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8


def _batches(converter, path):
    import numpy as np

    batch = converter._funcs[0].inputs[0].shape[0]
    data = np.load(path)
    for start in range(0, len(data), batch):
        part = data[start : start + batch]
        if len(part) < batch:
            part = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        yield [part.astype("float32")]


if __name__ == "__main__":
    sys.exit(keep() if sys.argv[1] == "--keep" else main(sys.argv[1]))
