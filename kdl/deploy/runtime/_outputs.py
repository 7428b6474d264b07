"""Choice of the output that tells the class of an image, or of its pixels."""

import numpy as np

from kdl.deploy.tflite.tensor_names import SCORES

# Of several outputs that might be meant: kdl's own names, and that of the head beside auxiliary
# ones.
_NAMES = (*SCORES, "main")


def class_rows(runner):
    """Places of the outputs `(batch, classes)` with two classes or more."""
    shapes = runner.output_shapes
    return _led([i for i, s in enumerate(shapes) if len(s) == 2 and (s[1] or 0) > 1], runner)


def class_maps(runner, labels=None):
    """Places of the outputs that give classes of pixels, as scores or as label maps.

    Args:
        runner: `TFLiteRunner` or `KerasRunner`.
        labels: Names of the classes, which tell their number; None if there are none.
    """
    places = range(len(runner.output_shapes))
    scores = [i for i in places if is_scores(runner, i)]
    fitting = [i for i in scores if labels and class_count(runner, i) == len(labels)]
    maps = [i for i in places if is_label_map(runner, i)]
    return _led(maps + (fitting or scores), runner)


def is_scores(runner, place):
    """Tell if an output holds scores of classes at pixels, `(batch, height, width, classes)`."""
    floating = np.issubdtype(runner.output_dtypes[place], np.floating)
    shape = runner.output_shapes[place]
    return floating and len(shape) == 4 and shape[3] is not None


def is_label_map(runner, place):
    """Tell if an output holds classes of pixels, integers `(batch, height, width)`, or with 1."""
    shape = runner.output_shapes[place]
    whole = np.issubdtype(runner.output_dtypes[place], np.integer)
    return whole and (len(shape) == 3 or (len(shape) == 4 and shape[3] == 1))


def class_count(runner, place):
    """Number of classes of an output of scores; one score a pixel parts two."""
    return max(2, runner.output_shapes[place][-1])


def is_surely_a_segmenter(runner, place, labels):
    """Tell if an output of classes at pixels cannot be feature maps as well.

    Label maps cannot, nor what has the size of the image, a name that says so, or a channel for
    each name of a class.
    """
    own, image = runner.output_shapes[place][1:3], runner.input_shape[1:3]
    named = runner.output_names[place] in _NAMES
    labelled = labels is not None and class_count(runner, place) == len(labels)
    full = None not in own and own == image
    return is_label_map(runner, place) or full or named or labelled


def described(runner):
    """The outputs by name, for messages."""
    return dict(zip(runner.output_names, runner.output_shapes, strict=True))


def _led(places, runner):
    """The places, or the one of several whose name says that it is meant."""
    named = [i for i in places if runner.output_names[i] in _NAMES]
    return named if len(places) > 1 and len(named) == 1 else places
