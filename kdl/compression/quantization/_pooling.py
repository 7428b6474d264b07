"""Adaptive poolings, decomposed into poolings of their windows."""

import itertools

from keras import ops

from kdl.ops.adaptive_pooling import adaptive_windows


def decompose_adaptive_pooling(pooling):
    """Rewrite of an adaptive pooling of images by `pooling`, a class of layers."""

    def rewrite(layer, args, kwargs, once):
        [x] = args
        axes = (2, 3) if layer.data_format == "channels_first" else (1, 2)
        sizes = [x.shape[axis] for axis in axes]
        if None in sizes:
            return None
        windows = [*map(adaptive_windows, sizes, layer.output_size)]

        def pool(images, size, strides, suffix):
            settings = {"data_format": layer.data_format, "dtype": layer.dtype_policy}

            def make(name):
                return pooling(size, strides, name=name, **settings)

            made, required = once(suffix, make), make(None)
            if (made.pool_size, made.strides) != (required.pool_size, required.strides):
                # A shared pooling has other windows for images of another size.
                made = once(f"{suffix}_of_{sizes[0]}_{sizes[1]}", make)
            return made(images)

        steps = [*map(_common_step, windows)]
        if None not in steps:
            size = tuple(stop - start for (start, stop), *_ in windows)
            return pool(x, size, tuple(steps), "")
        rows = [
            ops.concatenate(
                [
                    pool(
                        _cut(x, axes, (rows, columns)),
                        (rows[1] - rows[0], columns[1] - columns[0]),
                        1,
                        f"_{i}_{j}",
                    )
                    for j, columns in enumerate(windows[1])
                ],
                axis=axes[1],
            )
            for i, rows in enumerate(windows[0])
        ]
        return ops.concatenate(rows, axis=axes[0])

    return rewrite


def _common_step(windows):
    """The step from window to window, if they are of one size and evenly spaced; else None."""
    sizes = {stop - start for start, stop in windows}
    steps = {after - before for (before, _), (after, _) in itertools.pairwise(windows)}
    return max(steps or {1}) if len(sizes) == 1 and len(steps) < 2 and 0 not in steps else None


def _cut(x, axes, windows):
    index = [slice(None)] * len(x.shape)
    for axis, (start, stop) in zip(axes, windows, strict=True):
        index[axis] = slice(start, stop)
    return x[tuple(index)]
