"""Feature pyramids of any backbone."""

import math

import keras

from kdl.graph.replay import replay


def pyramid(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Feature maps of stride 2ⁿ of an image model, the last of each: inputs of a feature pyramid.

    For a model of kdl this is `model.pyramid_outputs`. Of any other functional model, such as those
    of `keras.applications`, the graph is searched: a tensor of rank 4 has stride 2ⁿ if its height
    and width are those of the image over 2ⁿ, give or take what unpadded convolutions cut off (less
    than an eighth). Levels from which the last feature map can be computed remain.

    Args:
        model: A functional model with one image as input, channels last or first.

    Returns:
        Dict `"P1"…"P5"` → `keras.KerasTensor`, for `keras.Model(model.inputs, pyramid(model))`.

    Raises:
        ValueError: If the model is not functional, or none of its tensors has such a stride.

    Example:
        >>> import keras
        >>> model = keras.applications.MobileNet((64, 64, 3), 0.25, include_top=False, weights=None)
        >>> {level: t.shape[-1] for level, t in pyramid(model).items()}
        {'P1': 16, 'P2': 32, 'P3': 64, 'P4': 128, 'P5': 256}
    """
    if hasattr(model, "pyramid_outputs"):
        return model.pyramid_outputs
    if not hasattr(model, "operations") or len(model.inputs) != 1:
        raise ValueError(
            f"pyramid needs a functional model with one input; {model.name} is a "
            f"{type(model).__name__}."
        )
    first = _channels_first(model)
    levels = {}
    for tensor, shape in _tensors_with_shapes(model, first):
        stride = _stride(shape, first)
        if stride:
            levels[f"P{stride.bit_length() - 1}"] = tensor
    if not levels:
        raise ValueError(f"{model.name} has no feature map whose stride is 2, 4, 8, 16 or 32.")
    return dict(sorted(levels.items()))


# Large enough that an unpadded convolution cuts off little, and a multiple of 32.
_SIZE = 512


def _channels_first(model):
    formats = [getattr(layer, "data_format", None) for layer in model.layers]
    return "channels_first" in formats


def _tensors_with_shapes(model, channels_first):
    """Yields each tensor of the graph, in order, with the shape that it has for a large image."""
    image = model.inputs[0]
    channels = image.shape[1] if channels_first else image.shape[-1]
    shape = (channels, _SIZE, _SIZE) if channels_first else (_SIZE, _SIZE, channels)
    shapes = []

    def call(operation, *args, **kwargs):
        outputs = operation(*args, **kwargs)
        shapes.append((operation, outputs))
        return outputs

    replay(model, keras.Input(shape, dtype=image.dtype), call=call)
    return [
        (operation.output, tuple(outputs.shape))
        for operation, outputs in shapes
        if isinstance(outputs, keras.KerasTensor) and len(outputs.shape) == 4
    ]


def _stride(shape, channels_first):
    """2, 4, 8, 16 or 32 if a map of this shape has that stride, else None."""
    height, width = shape[2:] if channels_first else shape[1:3]
    if height != width:
        return None
    stride = 2 ** math.floor(math.log2(_SIZE / height)) if height else 0
    return stride if stride in (2, 4, 8, 16, 32) and height > 7 / 8 * _SIZE / stride else None
