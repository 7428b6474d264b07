"""The runner for the task of a model."""

from kdl.deploy.runtime._image_runner import open_runner
from kdl.deploy.runtime._outputs import class_maps, class_rows, described, is_surely_a_segmenter
from kdl.deploy.runtime.image_classifier import ImageClassifier
from kdl.deploy.runtime.image_segmenter import ImageSegmenter

RUNNERS = {"classifier": ImageClassifier, "segmenter": ImageSegmenter}


def open_image_runner(model, task=None, threads=1):
    """The `ImageClassifier` or `ImageSegmenter` that a model is for.

    Args:
        model: A `.tflite` file or a Keras model.
        task: `"classifier"` or `"segmenter"`; by default what the outputs tell.
        threads: Number of threads that run a file. Defaults to 1.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the outputs do not tell the task, or the model does not fit it.
    """
    if task is None:
        task = _task(*open_runner(model, threads))
    if task not in RUNNERS:
        raise ValueError(f"task must be one of {[*RUNNERS]}; received {task!r}.")
    return RUNNERS[task](model, threads)


def _task(runner, info):
    rows, maps = class_rows(runner), class_maps(runner, info.labels)
    sure = [i for i in maps if is_surely_a_segmenter(runner, i, info.labels)]
    if rows and not sure:
        return "classifier"
    if sure and not rows:
        return "segmenter"
    if rows or maps:
        raise ValueError(
            f"{runner.path} does not tell whether it is a classifier or a segmenter: its outputs "
            f"are {described(runner)}. Say which: task='classifier' or task='segmenter'."
        )
    raise ValueError(
        f"{runner.path} is no classifier and no segmenter: expected one output (batch, two classes "
        f"or more), or scores (batch, height, width, classes) or label maps (batch, height, width) "
        f"of integers; it has {described(runner)}. Use TFLiteRunner for its arrays."
    )
