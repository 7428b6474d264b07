"""Layers and functions that are not Keras's, in the process that exports."""

import os
import subprocess
import sys

import keras
import pytest

from kdl.deploy.exporting._custom_objects import describe_custom_objects
from kdl.deploy.exporting._script import run_definitions

PARTS = """
import keras

class Unregistered(keras.layers.Layer):
    def __init__(self, factor=2, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

def unregistered_activation(x):
    return 2 * keras.ops.relu(x)
"""

FUNCTIONS = """
import keras

@keras.saving.register_keras_serializable("of_a_test")
def activation(x):
    return 3 * keras.ops.relu(x)

@keras.saving.register_keras_serializable("of_a_test")
class Ones(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return keras.ops.ones(shape, dtype or "float32")
"""

# Without `if __name__ == "__main__":`, as most scripts are.
SCRIPT = """
import keras
import kdl
from functions_of_a_test import activation, Ones
from parts_of_a_test import Unregistered, unregistered_activation

with open("runs.txt", "a") as file:
    file.write("run ")
data = kdl.data.digits()
FACTORS = [3]
FACTORS.append(4)

@keras.saving.register_keras_serializable("of_a_script")
class Scaled(kdl.layers.Conv2D):
    def call(self, x):
        data = super().call(x)
        return data * FACTORS[1]

class OfTheScript(keras.layers.Layer):
    def call(self, x):
        return x + 1

def activation_of_the_script(x):
    return keras.ops.tanh(x)

x = inputs = keras.Input((8, 8, 1))
x = OfTheScript()(Scaled(4, 3)(x))
inner = keras.layers.Dense(3, activation=activation, kernel_initializer=Ones())
x = keras.layers.TimeDistributed(inner)(keras.layers.Reshape((6, 24))(x))
nested = keras.Sequential([keras.layers.Dense(2, activation=unregistered_activation)])
x = keras.layers.Flatten()(nested(Unregistered()(x)))
x = keras.layers.Activation(activation_of_the_script)(x)
model = keras.Model(inputs, keras.layers.Dense(2)(x))
print(kdl.deploy.export_tflite(model, "m.tflite").passed)
"""


@pytest.mark.long
@pytest.mark.export
def test_script_is_exported_with_all_that_is_its_own_and_runs_once(tmp_path):
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "script.py").write_text(SCRIPT)
    (home / "parts_of_a_test.py").write_text(PARTS)
    (home / "functions_of_a_test.py").write_text(FUNCTIONS)
    for name in ("numpy", "types", "keras"):
        (here / f"{name}.py").write_text("open('runs.txt', 'a').write('of the folder')")
    done = subprocess.run(
        [sys.executable, home / "script.py"], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["True"], done.stderr
    assert (here / "runs.txt").read_text() == "run "


def defined(source, *names, package=None):
    return run_definitions(source, "script.py", package, names)


def test_definitions_come_with_what_they_use_and_nothing_else():
    source = """
from __future__ import annotations
from math import *
import dataclasses
import this_does_not_exist
SIDES = 4
table = {}
table["sides"] = SIDES
table.update(more=1)
table = dict(table)
unused = 1 / 0
for number in range(2):
    table[number] = number

def helper(unused):
    return table

def outer():
    unused = 2
    def inner():
        return helper(unused)
    return inner

@dataclasses.dataclass
class Shape:
    corners: int = SIDES
    def inside(self) -> not_imported.Thing:
        return outer()(), sqrt(4.0)

raise SystemExit("the training")
"""
    shape = defined(source, "Shape").Shape()
    assert shape.corners == 4
    assert shape.inside() == ({"sides": 4, "more": 1}, 2.0)


@pytest.mark.parametrize("guard", ["__name__ == '__main__'", '"__main__" == __name__'])
def test_definitions_under_the_guard_count(guard):
    source = f"import sys\nif {guard}:\n    A = sys.maxsize\n    def a(): return A\n    sys.exit()"
    assert defined(source, "a").a() == sys.maxsize


def test_definition_in_a_condition_is_found():
    source = "try:\n    import missing_module\nexcept ImportError:\n    def a(): return 'other'"
    assert defined(source, "a").a() == "other"


def test_relative_import_is_of_the_package(tmp_path, monkeypatch):
    package = tmp_path / "package_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "values.py").write_text("VALUE = 5")
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "from .values import VALUE\ndef a(): return VALUE"
    assert defined(source, "a", package="package_of_a_test").a() == 5


def saved(layer, folder):
    """A model with a layer, and the file that it is saved in."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layer(inputs))
    model.compile("adam", loss_of_a_test)
    path = os.path.join(folder, "model.keras")
    model.save(path)
    return model, path


def loss_of_a_test(y_true, y_pred):
    return y_true - y_pred


@keras.saving.register_keras_serializable("kdl_tests")
class Registered(keras.layers.Layer):
    def call(self, x):
        return x


def test_objects_are_described_by_module_and_name(tmp_path):
    found = describe_custom_objects(*saved(Registered(), tmp_path))
    assert found == {"objects": [("kdl_tests>Registered", __name__, "Registered")], "script": None}
    found = describe_custom_objects(*saved(keras.layers.Dense(2, "relu"), tmp_path))
    assert found == {"objects": [], "script": None}


def test_object_within_a_function_is_refused(tmp_path):
    @keras.saving.register_keras_serializable("kdl_tests")
    class Local(keras.layers.Layer):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match=r"kdl_tests>Local is defined within a function"):
        describe_custom_objects(*saved(Local(), tmp_path))


def test_cells_of_a_notebook_are_its_script(tmp_path, monkeypatch):
    main = sys.modules["__main__"]
    monkeypatch.delattr(main, "__file__", raising=False)
    monkeypatch.setattr(Registered, "__module__", "__main__")
    with pytest.raises(ValueError, match=r"interactive session.*Put it into a module"):
        describe_custom_objects(*saved(Registered(), tmp_path))
    cells = ["%matplotlib inline", "import math", "!ls", "class Registered: value = math.pi"]
    monkeypatch.setattr(main, "In", cells, raising=False)
    script = describe_custom_objects(*saved(Registered(), tmp_path))["script"]
    assert run_definitions(**script, names=["Registered"]).Registered.value > 3


HOSTILE = [
    {"registered_name": "relu", "class_name": "pipepager", "module": "pydoc"},
    {"registered_name": "relu", "class_name": "relu", "module": "pydoc"},
    {"registered_name": "Popen", "class_name": "Popen", "module": "subprocess"},
    {"registered_name": "nothing"},
    {"registered_name": "Path", "class_name": "Path", "module": 3},
    {"class_name": "function", "config": ["relu"]},
]


@pytest.mark.parametrize("value", HOSTILE)
def test_what_a_configuration_claims_is_not_imported(value, tmp_path):
    layer = keras.layers.Dense(2, bias_initializer=keras.initializers.Constant(0.0))
    model, path = saved(layer, tmp_path)
    layer.bias_initializer = keras.initializers.Constant(value)
    model.save(path)
    before = set(sys.modules)
    assert describe_custom_objects(model, path) == {"objects": [], "script": None}
    assert "pydoc" in before or "pydoc" not in sys.modules
