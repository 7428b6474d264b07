"""Lovász extension of the Jaccard distance, for both Lovász losses."""

from keras import ops

from kdl.ops import batch_gather


def lovasz_extension(errors, truth):
    """`Σ_k e_k·g_k` along the last axis, with the errors `e` in descending order.

    `g_k = J_k − J_(k−1)`, where `J_k` is the Jaccard distance if the first `k` pixels are wrong and
    the others right; a constant for the gradient. Written out, `g_k = 1 / U_k` where the truth is
    1, and `I_k / (U_k · (U_k − 1))` where it is 0, with the union `U_k` and the intersection `I_k`
    after `k` pixels: the difference of `J`s would lose most digits in large images.

    Pixels with error 0 and truth 0 change nothing: they come after all that have an error.

    Args:
        errors: Float32 numbers, not negative, `(…, pixels)`.
        truth: Zeros and ones of the same shape.
    """
    # One call sorts; ops.argsort and two gathers take a third longer on PyTorch and TensorFlow.
    errors, order = ops.top_k(errors, ops.shape(errors)[-1])
    truth = ops.take_along_axis(truth, order, axis=-1)
    return ops.sum(errors * ops.stop_gradient(_increments(truth)), axis=-1)


def gathered_pixels(errors, truth, axis_name):
    """Errors and truth of the pixels of all replicas, along the last axis."""
    both = ops.moveaxis(ops.stack([errors, truth]), -1, 0)
    both = ops.moveaxis(batch_gather(both, axis_name)[0], 0, -1)
    return both[0], both[1]


def _increments(truth):
    # In whole numbers, as float32 stops counting by ones at 2²⁴.
    hits = ops.cast(ops.cumsum(ops.cast(truth, "int32"), axis=-1), "int32")
    common = hits[..., -1:] - hits
    rank = ops.arange(1, ops.shape(truth)[-1] + 1, dtype="int32")
    union = ops.cast(hits[..., -1:] + rank - hits, "float32")
    # Without a true pixel the first error makes all the distance.
    common = ops.where(union > 1, ops.cast(common, "float32") / ops.maximum(union - 1, 1.0), 1.0)
    return ops.where(truth > 0, 1.0, common) / union
