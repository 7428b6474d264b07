"""Fine-tuning: a backbone's weights, a new head, frozen layers."""

import numpy as np

from kdl._compat import all_layers
from kdl.data.input_spec import InputSpec
from kdl.training.recalibrate import NORMS


def load_backbone(model, source, head=True):
    """Copies all weights of a model but those of its head, where the numbers of classes differ.

    Args:
        model: The model that gets the weights.
        source: A model of the same architecture, with any number of classes, or without a head.
        head: Whether the head gets weights, too, if they fit. Defaults to True.

    Raises:
        ValueError: If they differ in more than the head; the model is left as it was.

    Example:
        >>> import kdl
        >>> one, other = (
        ...     kdl.applications.ShuffleNetV2(0.5, input_shape=(32, 32, 3), classes=n)
        ...     for n in (10, 3)
        ... )
        >>> load_backbone(other, one)
    """
    of_head = {id(weight) for weight in head_of(model).weights}
    ours = model.weights
    if len(source.weights) == len(ours) - len(of_head):
        ours = [weight for weight in ours if id(weight) not in of_head]
    pairs = list(zip(ours, source.weights, strict=False))
    fits = len(ours) == len(source.weights)
    for weight, value in pairs:
        fits &= weight.shape == value.shape or id(weight) in of_head
    if not fits:
        raise ValueError(
            f"The weights of {source.name} do not fit {model.name}: expected those of the same "
            f"architecture, with any number of classes."
        )
    for weight, value in pairs:
        if weight.shape == value.shape and (head or id(weight) not in of_head):
            weight.assign(value)


def head_of(model):
    """The last layer with weights, which is the classifier."""
    return [layer for layer in model.layers if layer.weights][-1]


def freeze_backbone(model):
    """Freezes all layers but the head; norms use their averages."""
    head = head_of(model)
    for layer in model.layers:
        for part in all_layers(layer):
            part.trainable = layer is head


def thaw(model, norms):
    """Lets all layers train; norms with `norms=True` only, else they go on using their averages."""
    for layer in all_layers(model):
        layer.trainable = norms or not isinstance(layer, NORMS)


def published_spec(model, size):
    """`kdl.data.InputSpec` of the images that the published weights of an application take.

    What its `preprocess_input` makes of a black, a white and a red pixel tells all of it.

    Args:
        model: The application.
        size: Height and width.
    """
    pixels = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0]], "uint8")[:, None, None]
    made = model.preprocess_input(pixels, data_format="channels_last").reshape(3, 3)
    black, white, red = made.astype("float64")
    std = 1 / (white - black)
    color = "rgb" if np.argmax((red - black) * std) == 0 else "bgr"
    return InputSpec((size, size), mean=tuple(-black * std), std=tuple(std), color=color)
