"""Classes and functions of a saved model that are not Keras's, for another process to import."""

import ast
import contextlib
import json
import os
import sys
import types
import zipfile

import keras

from kdl._compat import all_layers


def describe_custom_objects(model, path):
    """Facts that `kdl.deploy.exporting._worker` needs to load a `.keras` file.

    Args:
        model: A Keras model.
        path: The file in which it was saved.

    Returns:
        Dict with `objects`, a list of `(registered name, module, name in the module)`, and
        `script`, the text of the main module if an object is defined there, with its path and
        package.

    Raises:
        ValueError: If the main module has no text, or an object is defined within a function.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    config.pop("compile_config", None)
    objects = {*_registered(config), *_unregistered(config, model)}
    objects = sorted(each for each in objects if _is_foreign(*each))
    local = [name for name, _, place in objects if "<locals>" in place]
    if local:
        raise ValueError(
            f"{', '.join(local)} is defined within a function, where the export process cannot "
            f"find it. Define it on the first level of a module."
        )
    names = [place for _, module, place in objects if module == "__main__"]
    return {"objects": objects, "script": _main_script(names) if names else None}


def _is_foreign(name, module, place):
    return bool(module and place) and module.split(".")[0] not in ("keras", "kdl", "builtins")


def _configurations(config):
    """Yields the dictionaries and strings in a configuration."""
    if isinstance(config, dict | str):
        yield config
    if isinstance(config, dict | list):
        for item in config.values() if isinstance(config, dict) else config:
            yield from _configurations(item)


def _registered(config):
    """Yields what was registered with Keras, which a configuration mentions by that name."""
    known = keras.saving.get_custom_objects()
    for item in _configurations(config):
        if isinstance(item, str) and item in known:
            found = known[item]
            yield item, getattr(found, "__module__", None), getattr(found, "__qualname__", None)


def _unregistered(config, model):
    """Yields classes by what Keras writes of them, and functions by what the layers hold."""
    known = keras.saving.get_custom_objects()
    layers = all_layers(model)
    classes = {type(layer).__name__: type(layer) for layer in layers}
    functions = {
        value.__name__: value
        for layer in layers
        for value in vars(layer).values()
        if isinstance(value, types.FunctionType)
    }
    for item in _configurations(config):
        if not isinstance(item, dict):
            continue
        name, config = item.get("registered_name"), item.get("config")
        if item.get("class_name") == "function":
            found = functions.get(config) if isinstance(config, str) else None
            if found is not None:
                yield config, found.__module__, found.__qualname__
        elif isinstance(name, str) and name not in known:
            found = classes.get(name) or _loaded_class(item)
            if found is not None:
                yield name, found.__module__, found.__qualname__


def _loaded_class(item):
    """The class that a configuration names, if it is one of this process that Keras makes; or None.

    A configuration may hold whatever the author of a file wrote: nothing is imported for it, and
    nothing gets a name that is not its own.
    """
    # Of classes of the main module Keras writes no module.
    module, name = item.get("module") or "__main__", item.get("class_name")
    if not isinstance(module, str) or not isinstance(name, str) or name != item["registered_name"]:
        return None
    found = vars(sys.modules.get(module, object)).get(name)
    is_made = isinstance(found, type) and hasattr(found, "from_config")
    return found if is_made and found.__module__ == module else None


def _main_script(names):
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is not None and os.path.isfile(file):
        with open(file, encoding="utf-8") as script:
            source = script.read()
    else:
        file, source = "<cells>", "\n".join(_cells(main))
    if not source:
        raise ValueError(
            f"{', '.join(names)} is defined in an interactive session, where the export process "
            f"cannot find it. Put it into a module, and import it."
        )
    spec = getattr(main, "__spec__", None)
    return {"source": source, "file": file, "package": spec.parent if spec else None}


def _cells(main):
    """The cells of a notebook that are Python alone."""
    for cell in getattr(main, "In", []):
        with contextlib.suppress(SyntaxError):
            ast.parse(cell)
            yield cell
