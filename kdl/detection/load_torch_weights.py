"""Weights of torchvision's detectors."""

import re
from collections.abc import Mapping

import keras
import numpy as np

from kdl._compat import all_layers
from kdl._typing import ArrayLike, Path
from kdl.applications.weights.convert import as_arrays, fill_from_arrays
from kdl.detection.faster_rcnn import FasterRCNN

# Names of torchvision's first files → names of today.
_RENAMED = (
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^(roi_heads\.mask_head)\.mask_fcn(\d)\.", lambda m: f"{m[1]}.{int(m[2]) - 1}.0."),
)
_OLD_TOWER = re.compile(r"^(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)$")

_TINY = 1e-30  # of a variance that is none


def load_torch_weights(
    model: keras.Model, state: Path | Mapping[str, ArrayLike], epsilon: float | None = None
) -> None:
    """Fill a detector with the weights of torchvision's of the same kind.

    Both generations of torchvision's names are read. Every tensor is checked before the first one
    is set, so that a file that does not fit leaves the model as it was.

    Args:
        model: A detector of kdl whose backbone torchvision has, with `padding="symmetric"`.
        state: Path of a `.pth` or `.safetensors` file, or a mapping of names to arrays or tensors
            (a PyTorch `state_dict`).
        epsilon: That of the batch norms in the network which the weights are of, if it is another
            than the model's: torchvision's first RetinaNet, Faster R-CNN and Mask R-CNN have 0 with
            the published weights. The norms' scales take up the difference. Defaults to None, the
            same.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the file is damaged, or a tensor is missing, left over or of another shape;
            the message names the first such tensor.

    Example:
        >>> import kdl
        >>> backbone = kdl.applications.ResNet((1, 1, 1, 1), 8, include_top=False,
        ...     input_shape=(64, 64, 3))
        >>> model = kdl.detection.RetinaNet(backbone, 2)
        >>> load_torch_weights(model, {})
        Traceback (most recent call last):
        ...
        ValueError: 'backbone.body.conv1.weight' is missing from the state dict: it belongs to ...
    """
    arrays, origin = as_arrays(state)
    arrays = _names_of_today(arrays)
    if isinstance(model, FasterRCNN):
        arrays = _as_heads(arrays, model.roi_heads)
    fill_from_arrays(model, arrays, origin)
    if epsilon is not None:
        _take_up(model, epsilon)


def _names_of_today(arrays):
    towers = {(m[1], int(m[2])) for m in map(_OLD_TOWER.match, arrays) if m}
    # The convolutions of a tower stood among its activations, at every second place. FCOS's, which
    # have norms at the places between, are called so today.
    towers = set() if any(number % 2 for _, number in towers) else towers
    places = {
        (tower, number): place
        for tower in {tower for tower, _ in towers}
        for place, number in enumerate(sorted(n for t, n in towers if t == tower))
    }

    def renamed(name):
        for pattern, replacement in _RENAMED:
            name = re.sub(pattern, replacement, name)
        old = _OLD_TOWER.match(name) if towers else None
        return f"{old[1]}.{places[old[1], int(old[2])]}.0.{old[3]}" if old else name

    return {renamed(name): array for name, array in arrays.items()}


def _as_heads(arrays, heads):
    """Arrays as kdl's heads have them: pixels before channels, boxes and masks of classes alone.

    torchvision gives the background a box and a mask, too, which nothing reads.
    """
    cells = heads.box_head.pool_size**2
    first = f"roi_heads.box_head.{heads.box_head.depth + 1 if heads.box_head.depth else 'fc6'}"
    changed = dict(arrays)
    kernel = arrays.get(f"{first}.weight")
    if kernel is not None and kernel.ndim == 2 and kernel.shape[1] % cells == 0:
        by_channel = kernel.reshape(len(kernel), -1, cells)
        changed[f"{first}.weight"] = by_channel.transpose(0, 2, 1).reshape(kernel.shape)
    for name, rows in (("box_predictor.bbox_pred", 4), ("mask_predictor.mask_fcn_logits", 1)):
        for kind in ("weight", "bias"):
            key = f"roi_heads.{name}.{kind}"
            if key in arrays:
                changed[key] = arrays[key][rows:]
    return changed


def _take_up(model, epsilon):
    """Make the norms give what they would with another epsilon: `γ / √(σ² + ε)` is what counts."""
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            variance, gamma = (
                keras.ops.convert_to_numpy(x).astype("float64")
                for x in (layer.moving_variance, layer.gamma)
            )
            ratio = (variance + layer.epsilon) / np.maximum(variance + epsilon, _TINY)
            layer.gamma.assign(gamma * np.sqrt(ratio))
