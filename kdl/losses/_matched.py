"""Labels and predictions of losses that compare them row by row."""

from kdl.ops._shapes import shapes_match


def check_matched(y_true, y_pred):
    """Raises ValueError unless labels and predictions have one shape: others would broadcast.

    Args:
        y_true: Tensor of labels.
        y_pred: Tensor of predictions.
    """
    if not shapes_match(y_true.shape, y_pred.shape) or not len(y_pred.shape):
        raise ValueError(
            f"y_true and y_pred must have one shape, a row for each row; received "
            f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}."
        )
