"""The process that converts saved models with TensorFlow; `kdl.deploy.warm_converter` starts it."""

import functools
import importlib

from kdl._child import serve
from kdl.deploy.exporting._script import run_definitions


def main(folder, *arguments):
    """Carries out the jobs of `conversion`, beside this; with `--keep` it forks for each."""
    keep = "--keep" in arguments
    if keep:
        import tensorflow  # noqa: F401

        import kdl.applications
        import kdl.layers  # noqa: F401

    serve(folder, _convert, fork=keep)


def _convert(job, say):
    import tensorflow as tf

    model = _load(job)
    _make_names_legal(model)
    module, function = _serving_function(tf, model, job)
    if "int8" in job["targets"] and job["representative_data"] is not None:
        _refuse_loops(function, model)
    for kind, path in job["targets"].items():

        def write(kind=kind, path=path, **settings):
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
            _set_quantization(tf, converter, kind, job)
            for name, value in settings.items():
                setattr(converter, name, value)
            content = converter.convert()
            with open(path, "wb") as file:
                file.write(content)

        try:
            write()
            cannot_round = kind == "int8" and _is_damaged(path)
        except ValueError as error:
            cannot_round = "Model output is not dequantized" in str(error)
            if not cannot_round:
                raise
        if cannot_round:
            # An output is made by an operation without an int8 form: it is given as it is.
            write(inference_output_type=tf.float32)


def _is_damaged(path):
    """Tell if the converter lost a tensor: a float output that an operation reads, too."""
    from kdl.deploy.tflite.file import parse_tflite

    try:
        parse_tflite(path)
    except ValueError:
        return True
    return False


def _load(job):
    import keras

    from kdl._compat import shapes_in_tuples
    from kdl.deploy.exporting.conversion import ExportError, reason_in

    with keras.saving.custom_object_scope(_custom_objects(**job["custom"])), shapes_in_tuples():
        try:
            return keras.models.load_model(job["model"], compile=False, safe_mode=False)
        except (ImportError, OSError):
            raise
        except Exception as error:  # whatever the author of a layer raises
            reason = reason_in(str(error))[:400].rstrip(" .")
            raise ExportError(
                f"Keras cannot read the model back from the file in which it saves it "
                f"({type(error).__name__}): {reason}. Every get_config must return all arguments "
                f"of its constructor. If only that of the model's own class does not, export "
                f"kdl.compression.flatten(model), which is saved layer by layer."
            ) from error


def _custom_objects(objects, script):
    """Dict: registered name → class or function; `objects` and `script` are of the parent."""
    modules = {name: importlib.import_module(name) for _, name, _ in objects if name != "__main__"}
    if script is not None:
        names = [place.split(".")[0] for _, module, place in objects if module == "__main__"]
        modules["__main__"] = run_definitions(**script, names=names)
    found = {}
    for name, module, place in objects:
        try:
            found[name] = functools.reduce(getattr, place.split("."), modules[module])
        except AttributeError:
            continue  # it is registered under a name of its own
    return found


def _serving_function(tf, model, job):
    """A `tf.Module` that holds the variables, and the concrete function with named ends.

    The converter needs an object that owns the variables in order to write a signature; given the
    Keras model itself, it writes unfolded variables that read as NaN.
    """
    import keras

    from kdl._compat import argmax_of_tensorflow, biases_of_their_axis, seeds_that_stay
    from kdl.ops import lowering_scope

    # By path, as Keras flattens nested dictionaries in an order of its own on each backend.
    names, paths = job["output_names"], [tuple(path) for path in job["output_paths"]]
    if len(set(names)) < len(names):
        raise ValueError(f"Two outputs have the same name: {names}.")
    module = tf.Module()
    module.kept = [variable.value for variable in model.variables]
    specs = [tf.TensorSpec(x["shape"], x["dtype"], name=x["name"]) for x in job["inputs"]]

    @tf.function(input_signature=specs)
    def serve(*arrays):
        outputs = model(_structure(model, job["inputs"], arrays), training=False)
        outputs = keras.tree.flatten_with_path(outputs)
        found = {tuple(map(str, path)): output for path, output in outputs}
        # A list of one comes back from the file as that one.
        flat = [found[path] for path in paths] if len(paths) > 1 else found.values()
        return dict(zip(names, flat, strict=True))

    module.serve = serve
    with (
        lowering_scope("device"),
        argmax_of_tensorflow(),
        biases_of_their_axis(),
        seeds_that_stay(),
    ):
        return module, serve.get_concrete_function()


def _structure(model, inputs, arrays):
    """The arrays as the loaded model takes them, by the path of each input."""
    import keras

    if isinstance(model, keras.Sequential):
        return arrays[0]
    if len(arrays) == 1:  # there is no other that it could be mistaken for
        return keras.tree.pack_sequence_as(model.input, arrays)
    by_path = {tuple(x["path"]): array for x, array in zip(inputs, arrays, strict=True)}
    paths = [tuple(map(str, path)) for path, _ in keras.tree.flatten_with_path(model.input)]
    return keras.tree.pack_sequence_as(model.input, [by_path[path] for path in paths])


def _make_names_legal(model):
    """Gives layers and variables names that TensorFlow takes: without blanks, accents and such.

    Otherwise it refuses them as scopes, and leaves out the signature without a word.
    """
    from kdl._compat import all_layers, rename_tensorflow_variable
    from kdl.deploy.tflite.tensor_names import scope_name

    for layer in all_layers(model):
        if layer.name != scope_name(layer.name):
            layer.name = scope_name(layer.name)
    for number, variable in enumerate(model.variables):
        if variable.path != scope_name(variable.path):
            rename_tensorflow_variable(variable.value, f"variable_{number}")


def _refuse_loops(function, model):
    """Raises ExportError if there are loops, in which TensorFlow's calibrator dies."""
    from kdl.deploy.exporting.conversion import ExportError
    from kdl.deploy.exporting.float_operations import layer_of

    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for body in graph.library.function for node in body.node_def)]
    loops = [node.name for node in nodes if node.op in ("While", "StatelessWhile")]
    if not loops:
        return
    places = dict.fromkeys(layer_of(name, model) or name for name in loops)
    raise ExportError(
        f"int8 cannot be measured through a loop, on which TensorFlow's converter crashes: "
        f"{', '.join(places)}. Make recurrent layers with unroll=True; or quantize the rest with "
        f"kdl.compression.calibrate, which keeps them floating-point, and export that as int8; or "
        f"export as dynamic, float16 or float32."
    )


def _set_quantization(tf, converter, kind, job):
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        if job["representative_data"] is not None:
            converter.representative_dataset = functools.partial(
                _batches, job["inputs"], job["representative_data"]
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8


def _batches(inputs, paths):
    """Batches of the representative data, as dicts by the names of the inputs."""
    import numpy as np

    arrays = {x["name"]: np.load(paths[x["name"]]) for x in inputs}
    batch = inputs[0]["shape"][0]
    for start in range(0, len(arrays[inputs[0]["name"]]), batch):
        parts = {name: array[start : start + batch] for name, array in arrays.items()}
        yield {x["name"]: _filled(parts[x["name"]], batch).astype(x["dtype"]) for x in inputs}


def _filled(part, batch):
    """A batch with its last sample repeated up to the size of the others."""
    import numpy as np

    return np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
