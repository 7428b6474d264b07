import inspect

import pytest

from kdl.applications import ResNeXt, ResNeXt101
from kdl.applications.variant import variant

SMALL = {"input_shape": (32, 32, 3), "classes": 3, "include_top": False}


def test_defaults_are_changed_and_can_be_overridden():
    Small = variant("Small", ResNeXt, depth=[1, 1, 1, 1], cardinality=2)
    model = Small(**SMALL)
    assert isinstance(model, ResNeXt)
    assert model.get_config()["depth"] == (1, 1, 1, 1)
    assert model.get_config()["cardinality"] == 2
    assert Small(cardinality=4, **SMALL).get_config()["cardinality"] == 4


def test_it_looks_like_the_class():
    parameters = inspect.signature(ResNeXt101).parameters
    assert list(parameters) == list(inspect.signature(ResNeXt).parameters)
    assert (parameters["depth"].default, parameters["base_width"].default) == (101, 8)
    assert ResNeXt101.__name__ == "ResNeXt101"
    assert "depth=101, base_width=8" in ResNeXt101.__doc__
    assert ResNeXt101.preprocess_input is ResNeXt.preprocess_input


def test_unknown_arguments():
    with pytest.raises(TypeError, match="has no argument"):
        variant("Wrong", ResNeXt, width=2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        ResNeXt101(width=2)
