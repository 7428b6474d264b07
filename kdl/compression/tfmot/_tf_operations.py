"""Operations of `keras.ops` in TensorFlow. Used in the worker process only."""

import itertools


def run(tf, kind, settings, arguments):
    """Result of the operation `kind` with its settings on the arguments."""
    return _OPERATIONS[kind](tf, settings, *arguments)


def decode(x, tensors):
    """The arguments that `_description._plain` wrote down."""
    if isinstance(x, list | tuple):
        return [decode(part, tensors) for part in x]
    if not isinstance(x, dict):
        return x
    if "tensor" in x:
        return tensors[x["tensor"]]
    return slice(*x["slice"]) if "slice" in x else Ellipsis


def _split(tf, settings, x):
    axis, parts = settings["axis"] % x.shape.rank, settings["indices_or_sections"]
    if isinstance(parts, int):
        return tf.split(x, parts, axis=axis)
    ends = [0, *parts, x.shape[axis]]
    return tf.split(x, [b - a for a, b in itertools.pairwise(ends)], axis=axis)


def _get_item(tf, settings, x, key):
    return x[tuple(key) if isinstance(key, list) else key]


def _moveaxis(tf, settings, x):
    sources, targets = (
        [a % x.shape.rank for a in (value if isinstance(value, list) else [value])]
        for value in (settings["source"], settings["destination"])
    )
    order = [axis for axis in range(x.shape.rank) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        order.insert(target, source)
    return tf.transpose(x, order)


def _swapaxes(tf, settings, x):
    order = list(range(x.shape.rank))
    one, other = settings["axis1"], settings["axis2"]
    order[one], order[other] = order[other], order[one]
    return tf.transpose(x, order)


def _pad(tf, settings, x):
    return tf.pad(x, settings["pad_width"], settings.get("mode", "constant").upper())


def _pool(kind):
    def pool(tf, settings, x):
        size, strides = settings["pool_size"], settings["strides"]
        function = {"max": tf.nn.max_pool2d, "mean": tf.nn.avg_pool2d}[kind]
        return function(x, size, size if strides is None else strides, settings["padding"].upper())

    return pool


def _resize(tf, settings, x):
    size = settings.get("size") or [settings["height"], settings["width"]]
    return tf.image.resize(x, size, settings["interpolation"])


# Name of the class in Keras 3 → function of TensorFlow, the settings and the arguments.
_OPERATIONS = {
    "Add": lambda tf, s, a, b: a + b,
    "AveragePool": _pool("mean"),
    "Elu": lambda tf, s, x: tf.where(x > 0, x, s["alpha"] * tf.math.expm1(tf.minimum(x, 0.0))),
    "ExpandDims": lambda tf, s, x: tf.expand_dims(x, s["axis"]),
    "Gelu": lambda tf, s, x: tf.nn.gelu(x, s["approximate"]),
    "GetItem": _get_item,
    "HardSilu": lambda tf, s, x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "Identity": lambda tf, s, x: tf.identity(x),
    "Max": lambda tf, s, x: tf.reduce_max(x, s["axis"], s["keepdims"]),
    "MaxPool": _pool("max"),
    "Maximum": lambda tf, s, a, b: tf.maximum(a, b),
    "Mean": lambda tf, s, x: tf.reduce_mean(x, s["axis"], s["keepdims"]),
    "Minimum": lambda tf, s, a, b: tf.minimum(a, b),
    "Moveaxis": _moveaxis,
    "Multiply": lambda tf, s, a, b: a * b,
    "Pad": _pad,
    "Repeat": lambda tf, s, x: tf.repeat(x, s["repeats"], axis=s["axis"]),
    "Reshape": lambda tf, s, x: tf.reshape(x, s["newshape"]),
    "Resize": _resize,
    "Resizing": _resize,
    "Roll": lambda tf, s, x: tf.roll(x, s["shift"], s["axis"]),
    "Split": _split,
    "Squeeze": lambda tf, s, x: tf.squeeze(x, s["axis"]),
    "Stack": lambda tf, s, x: tf.stack(x, s["axis"]),
    "Subtract": lambda tf, s, a, b: a - b,
    "Swapaxes": _swapaxes,
    "Tile": lambda tf, s, x: tf.tile(x, s["repeats"]),
    "Transpose": lambda tf, s, x: tf.transpose(x, s["axes"]),
    "Unstack": lambda tf, s, x: tf.unstack(x, s["num"], s["axis"]),
}
