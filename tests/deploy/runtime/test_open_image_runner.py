import keras
import numpy as np
import pytest
from deploy.segmenters import pooled_file, scores_file
from deploy.tiny_tflite import FLOAT, TinyFile

from kdl.data import InputSpec, ModelInfo
from kdl.deploy import ImageClassifier, ImageSegmenter, write_metadata
from kdl.deploy.runtime._open_image_runner import open_image_runner


def test_task_that_the_outputs_tell(artifacts, tmp_path):
    classifier = open_image_runner(artifacts / "int8.tflite")
    assert isinstance(classifier, ImageClassifier)
    path = scores_file(tmp_path / "m.tflite")
    assert isinstance(open_image_runner(path), ImageSegmenter)
    path = scores_file(tmp_path / "m.tflite", argmax=True)
    assert isinstance(open_image_runner(path), ImageSegmenter)


def test_coarse_maps_may_be_features(tmp_path):
    """What is smaller than the image is told by the names of its classes, or by the task."""
    path = pooled_file(tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"does not tell whether .*\(1, 4, 4, 3\).*task='segm"):
        open_image_runner(path)
    assert isinstance(open_image_runner(path, "segmenter"), ImageSegmenter)
    with pytest.raises(ValueError, match="no classifier: expected one output"):
        open_image_runner(path, "classifier")
    write_metadata(path, ModelInfo([*"abc"], InputSpec((8, 8))))
    assert isinstance(open_image_runner(path), ImageSegmenter)


def test_rows_and_maps_at_once():
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(3, 1)(inputs)
    row = keras.layers.GlobalAveragePooling2D()(maps)
    both = keras.Model(inputs, [row, maps])
    with pytest.raises(ValueError, match="does not tell whether it is a classifier or a segm"):
        open_image_runner(both)
    assert isinstance(open_image_runner(both, "classifier"), ImageClassifier)
    label_map = open_image_runner(both, "segmenter").predict(np.zeros((8, 8, 3), "float32"))
    assert label_map.label_map.shape == (8, 8)
    features = keras.Model(inputs, [row, keras.layers.AveragePooling2D(2)(maps)])
    assert isinstance(open_image_runner(features), ImageClassifier)


def test_neither_classifier_nor_segmenter(tmp_path):
    tiny = TinyFile()
    x = tiny.tensor((1, 1))
    path = tiny.write(tmp_path / "m.tflite", [x], [tiny.apply("LOGISTIC", [x], ((1, 1), FLOAT))])
    with pytest.raises(ValueError, match="no classifier and no segmenter: expected one output"):
        open_image_runner(path)
    with pytest.raises(ValueError, match=r"task must be one of .* received 'detector'"):
        open_image_runner(path, "detector")


def test_sequential_model_that_was_called_elsewhere():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 1)])
    images = np.ones((40, 4, 4, 3), "float32")
    maps = open_image_runner(model).predict(images)
    assert [one.label_map.shape for one in maps] == [(4, 4)] * 40
    model(keras.Input((4, 4, 3), batch_size=2))
    assert open_image_runner(model).input_shape == (None, 4, 4, 3)
    model.add(keras.layers.GlobalAveragePooling2D())
    assert len(open_image_runner(model).predict(images)) == 40


def test_features_of_any_size_are_no_maps():
    inputs = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(8, 3, strides=8)(inputs)
    row = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(features))
    both = keras.Model(inputs, {"logits": row, "features": features})
    assert isinstance(open_image_runner(both), ImageClassifier)
