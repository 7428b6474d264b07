import keras
import numpy as np
import pytest

from kdl.segmentation import predict_labels


def test_labels_are_of_the_largest_score_in_every_batch():
    inputs = keras.Input((3, 5, 4))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    x = np.random.default_rng(0).random((7, 3, 5, 4)).astype("float32")
    np.testing.assert_array_equal(predict_labels(model, x, batch_size=3), x.argmax(-1))


def test_other_outputs():
    inputs = keras.Input((3, 5, 4))
    twice = keras.Model(inputs, {"main": keras.layers.ReLU()(inputs), "other": inputs})
    images = np.zeros((1, 3, 5, 4), "float32")
    with pytest.raises(ValueError, match=r"received 2 outputs.*inference_model"):
        predict_labels(twice, images)
    flat = keras.Model(inputs, keras.layers.Flatten()(inputs))
    with pytest.raises(ValueError, match=r"one of shape \(1, 60\)"):
        predict_labels(flat, images)
    with pytest.raises(ValueError, match="batch_size"):
        predict_labels(flat, images, batch_size=0)
