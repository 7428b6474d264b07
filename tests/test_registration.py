"""Keras knows kdl's classes, whatever is imported first."""

import json
import os
import subprocess
import sys

import keras
import pytest

FIRST = {
    "keras": "import keras, kdl",
    "kdl": "import kdl, keras",
    "layers": "from kdl.layers import Conv2D",
    "applications": "from kdl.applications import ResNeXt",
    "compression": "from kdl.compression import flatten",
    "ops": "import kdl.ops",
    "a lazy name": "from kdl.deploy import Gates",
    "a module": "import kdl.layers.quantization.fake_quantize",
    # As TensorFlow does, long before it imports Keras.
    "a question": "import kdl, importlib.util; importlib.util.find_spec('keras')",
}

CHECK = """
import keras, sys
from keras.saving import get_registered_object
for name in ("FakeQuantize", "WarmUpCosine", "PrunedModel"):
    assert get_registered_object("kdl>" + name), name
import kdl.layers
assert get_registered_object("kdl>FakeQuantize") is kdl.layers.FakeQuantize
assert not any(type(finder).__module__ == "kdl._registration" for finder in sys.meta_path)
assert type(keras.__loader__).__module__ == type(kdl.layers.__loader__).__module__
assert keras.__spec__.loader is keras.__loader__
"""


# What takes long to import is imported once; each case is a fork.
FORK = """
import importlib, json, os, sys, traceback
for name in ("numpy", "scipy", "sklearn.base", "jax"):
    importlib.import_module(name)
assert "keras" not in sys.modules
for name, code in json.load(sys.stdin).items():
    if os.fork() == 0:
        try:
            exec(code, {})
        except BaseException:
            print(name, traceback.format_exc(), flush=True)
        finally:
            os._exit(0)
    os.wait()
    print("did", name, flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once: its own backend is NumPy")
def test_classes_are_registered():
    cases = {**FIRST, "a failure": "import kdl\ntry: import kdl.nothing\nexcept ImportError: pass"}
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        input=json.dumps({name: f"{code}\n{CHECK}" for name, code in cases.items()}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"did {name}" for name in cases], done.stdout[-3000:]
