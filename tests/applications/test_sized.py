"""Sized constructors: the signature of the family's class, spelled out, with other defaults."""

import inspect

import pytest

import kdl
from kdl.applications import NASNet, Res2Net, ResNet, ResNeXt, ResNeXt101, SCNet, SEResNet

SMALL = {"input_shape": (32, 32, 3), "classes": 3, "include_top": False}

SIZED = {
    "NASNetLarge": (NASNet, (4032, 6, 96, True)),
    "NASNetMobile": (NASNet, (1056, 4, 32, False)),
    "Res2NeXt50": (Res2Net, (50, 4, 4, 8)),
    "Res2Net50": (Res2Net, (50, 26, 4, 1)),
    "Res2Net101": (Res2Net, (101, 26, 4, 1)),
    "ResNeXt50": (ResNeXt, (50, 32, 4)),
    "ResNeXt101": (ResNeXt, (101, 32, 8)),
    "ResNet50": (ResNet, (50, 64)),
    "ResNet101": (ResNet, (101, 64)),
    "SCNet50": (SCNet, (50, None)),
    "SCNet101": (SCNet, (101, None)),
    "SENet154": (SEResNet, (152, 64, 4, "senet")),
    "SEResNeXt50": (SEResNet, (50, 32, 4, "caffe")),
    "SEResNeXt101": (SEResNet, (101, 32, 4, "caffe")),
    "SEResNet50": (SEResNet, (50, 1, 64, "caffe")),
    "SEResNet101": (SEResNet, (101, 1, 64, "caffe")),
    "SEResNet152": (SEResNet, (152, 1, 64, "caffe")),
}


def test_every_constructor_of_a_size_is_in_the_table():
    functions = {
        name
        for name in kdl.applications.__all__
        if hasattr(getattr(kdl.applications, name), "preprocess_input")
        and inspect.isfunction(getattr(kdl.applications, name))
    }
    assert functions == set(SIZED)


@pytest.mark.parametrize("name", SIZED)
def test_signature_is_that_of_the_class_with_other_defaults(name):
    constructor, (cls, size) = getattr(kdl.applications, name), SIZED[name]
    ours, theirs = (inspect.signature(thing).parameters for thing in (constructor, cls))
    assert list(ours) == list(theirs)
    assert [(p.kind, p.annotation) for p in ours.values()] == [
        (p.kind, p.annotation) for p in theirs.values()
    ]
    rest = [p.default for p in theirs.values()][len(size) :]
    assert [p.default for p in ours.values()] == [*size, *rest]
    # Written out, for editors that do not run the code.
    assert constructor.__code__.co_argcount == len(theirs)
    assert not constructor.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    assert constructor.__name__ == name
    assert constructor.preprocess_input is cls.preprocess_input
    assert constructor.decode_predictions is cls.decode_predictions


def test_defaults_can_be_overridden():
    model = ResNeXt101(depth=[1, 1, 1, 1], cardinality=2, **SMALL)
    assert isinstance(model, ResNeXt)
    config = model.get_config()
    assert (config["depth"], config["cardinality"], config["base_width"]) == ((1, 1, 1, 1), 2, 8)


def test_unknown_argument_raises():
    with pytest.raises(TypeError, match="unexpected keyword argument 'width'"):
        ResNeXt101(width=2)
