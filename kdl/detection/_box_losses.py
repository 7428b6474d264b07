"""Losses of box regression, whatever they compare: offsets, boxes, or boxes with all truths."""

from keras import ops

from kdl.ops import batch_total


def check_losses(**losses):
    """Raises ValueError for losses that would weigh anchors otherwise than a detector does."""
    for name, loss in losses.items():
        if not hasattr(loss, "reduction"):
            raise ValueError(
                f"{name} must be a Keras loss, such as kdl.losses.SmoothL1(reduction='sum'); "
                f"received {loss!r}."
            )
        if loss.reduction != "sum" and not _compares(loss) == "scenes":
            raise ValueError(
                f"{name} is divided by the positive anchors of the batch, so it must be a sum: "
                f"pass {type(loss).__name__}(reduction='sum', …); received "
                f"reduction={loss.reduction!r}."
            )
        if getattr(loss, "variances", None) is not None:
            raise ValueError(f"{name} gets decoded boxes: pass variances=None.")
        if getattr(loss, "from_logits", True) is not True:
            raise ValueError(f"{name} gets logits: pass from_logits=True.")


def check_settings(detector, loss, expected):
    """Raises ValueError if a loss of classes has settings that a detector's head is not made for.

    Args:
        detector: The detector.
        loss: A Keras loss; what it does not have is not asked for.
        expected: Dict: attribute → value.
    """
    for name, value in expected.items():
        if getattr(loss, name, value) != value:
            raise ValueError(
                f"class_loss of {type(detector).__name__} needs {name}={value!r}; received "
                f"{type(loss).__name__} with {getattr(loss, name)!r}."
            )


def box_loss(loss, coder, anchors, targets, truth, offsets, weights, counted=None):
    """Value of a box loss over the positive anchors, divided by a number of the whole batch.

    Args:
        loss: A Keras loss. One that `compares` boxes gets decoded ones, one that compares scenes
            all truths beside them; others get offsets.
        coder: The `BoxCoder` of the offsets.
        anchors: `(N, 4)`, or `(batch, N, 4)`.
        targets: `AnchorTargets`.
        truth: Dict of ground truth, with padded rows.
        offsets: Predictions `(batch, N, 4)`.
        weights: Weight of each image `(batch,)`, or None.
        counted: Bool `(batch, N)`, the anchors whose number divides; those that are positive by
            default.
    """
    offsets = ops.cast(offsets, "float32")
    positive = targets.positive & targets.valid
    if _compares(loss) == "scenes":
        given = {
            "boxes": truth["boxes"],
            "labels": truth["labels"],
            "proposals": ops.broadcast_to(anchors, ops.shape(offsets)),
            "positive": positive,
        }
        if truth.get("ignore") is not None:
            given["ignore"] = truth["ignore"]
        return loss(given, coder.decode(offsets, anchors), sample_weight=weights)
    # In place of what is no target: boxes that no code makes infinite.
    goals = ops.where(ops.expand_dims(positive, -1), targets.boxes, anchors)
    counts = shares(positive, positive if counted is None else counted, weights)
    if _compares(loss) == "boxes":
        return loss(goals, coder.decode(offsets, anchors), sample_weight=counts)
    return loss(coder.encode(goals, anchors), offsets, sample_weight=counts)


def shares(mask, counted, weights):
    """Weight of each anchor of a mask: its image's, over the number of `counted` in the batch."""
    values = ops.cast(mask, "float32")
    values = values / ops.maximum(batch_total(ops.sum(ops.cast(counted, "float32"))), 1.0)
    if weights is not None:
        values = values * ops.expand_dims(ops.cast(weights, "float32"), -1)
    return values


def _compares(loss):
    """What a loss compares: `"offsets"`, `"boxes"`, or `"scenes"`, boxes beside all truths."""
    return getattr(loss, "compares", "offsets")
