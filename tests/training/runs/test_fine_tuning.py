import functools

import keras
import numpy as np
import pytest

import kdl
from kdl.applications import preprocessing
from kdl.training.runs.fine_tuning import head_of, load_backbone, published_spec

pytestmark = pytest.mark.every_backend


def model(classes, filters=2):
    layers = [keras.layers.Conv2D(filters, 3), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((4, 4, 3)), *layers, keras.layers.Dense(classes)])


def test_all_weights_but_the_head_are_copied():
    one, other = model(3), model(5)
    head = other.get_weights()[2]
    load_backbone(other, one)
    np.testing.assert_array_equal(other.get_weights()[0], one.get_weights()[0])
    np.testing.assert_array_equal(other.get_weights()[2], head)
    same = model(3)
    load_backbone(same, one)
    np.testing.assert_array_equal(same.get_weights()[2], one.get_weights()[2])


def test_head_is_left_as_it_is_where_told_and_a_source_may_have_none():
    make = functools.partial(kdl.applications.ShuffleNetV2, 0.5, input_shape=(32, 32, 3))
    source, without = make(classes=3), make(include_top=False)
    load_backbone(source, without)
    for head in (True, False):
        model = make(classes=3)
        before = head_of(model).get_weights()
        load_backbone(model, source, head=head)
        after = head_of(model).get_weights()
        assert np.array_equal(after[0], head_of(source).get_weights()[0]) == head
        assert np.array_equal(after[0], before[0]) != head
    model = make(classes=5)
    load_backbone(model, without)
    for ours, theirs in zip(model.weights, without.weights, strict=False):
        np.testing.assert_array_equal(ours, theirs)


def test_another_backbone_raises():
    one, other = model(3), model(3, filters=4)
    before = other.get_weights()
    with pytest.raises(ValueError, match="expected those of the same architecture"):
        load_backbone(other, one)
    for was, is_now in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(was, is_now)


@pytest.mark.parametrize("name", ["scale_torch", "scale_tf", "scale_bgr", "scale_caffe"])
def test_spec_of_published_weights_does_what_preprocessing_does(name):
    class Published:
        preprocess_input = staticmethod(getattr(preprocessing, name))

    spec = published_spec(Published, 4)
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), "uint8")
    expected = Published.preprocess_input(image[None], "channels_last")[0]
    np.testing.assert_allclose(spec.load(image), expected, atol=1e-4)
