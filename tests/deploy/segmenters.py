"""Small `.tflite` files of segmentation networks, written without any converter."""

import numpy as np
from deploy.tiny_tflite import FLOAT, TinyFile

# Class 0 likes red, class 1 green, class 2 blue.
KERNEL = np.eye(3, dtype="float32").reshape(3, 1, 1, 3)


def scores_file(path, size=(8, 8), kernel=KERNEL, batch=1, argmax=False, kind=FLOAT):
    """A 1×1 convolution of an RGB image; with `argmax` its label map, integers."""
    tiny = TinyFile()
    classes = len(kernel)
    x = tiny.tensor((batch, *size, 3), kind)
    weights = [tiny.constant(kernel), tiny.bias(classes)]
    y = tiny.apply("CONV_2D", [x, *weights], ((batch, *size, classes), FLOAT), strideW=1, strideH=1)
    if argmax:
        axis = tiny.constant(np.array(3, "int32"))
        y = tiny.apply("ARG_MAX", [y, axis], ((batch, *size), "INT64"), outputType=4)
    return tiny.write(path, [x], [y])


def pooled_file(path, size=(8, 8), factor=2):
    """The same at a half of the size, as feature maps or coarse scores are."""
    tiny = TinyFile()
    x = tiny.tensor((1, *size, 3))
    small = (1, size[0] // factor, size[1] // factor, 3)
    options = {"strideW": factor, "strideH": factor, "filterWidth": factor, "filterHeight": factor}
    y = tiny.apply("AVERAGE_POOL_2D", [x], (small, FLOAT), **options)
    return tiny.write(path, [x], [y])


def several_outputs_file(path, names=("y0", "y1")):
    """Two maps of scores, the second of which is the first upside down, with these names."""
    tiny = TinyFile()
    x = tiny.tensor((1, 8, 8, 3))
    outputs = [
        tiny.apply(
            "CONV_2D",
            [x, tiny.constant(kernel), tiny.bias(3)],
            ((1, 8, 8, 3), FLOAT),
            strideW=1,
            strideH=1,
        )
        for kernel in (KERNEL, -KERNEL)
    ]
    entry, numbers = tiny._entry, dict(zip(("y0", "y1"), names, strict=True))
    tiny._entry = lambda name, number: entry(numbers.get(name, name), number)
    return tiny.write(path, [x], outputs)
