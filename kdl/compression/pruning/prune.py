"""Magnitude pruning."""

from collections.abc import Collection, Sequence

import keras

from kdl._checks import check_choice, is_integer
from kdl.compression.pruning._kernels import find_kernels
from kdl.compression.pruning.pruned_model import PrunedModel
from kdl.compression.pruning.sparsity_schedule import SparsitySchedule
from kdl.graph import copy_model

SCOPES = ("layer", "global")

_KINDS = ("first", "last", "depthwise", "grouped")


def prune(
    model: keras.Model,
    schedule: SparsitySchedule | None,
    scope: str = "layer",
    n_of_m: Sequence[int] | None = None,
    skip: Collection[str] = ("depthwise",),
) -> PrunedModel:
    """Makes a model that sets its smallest weights to zero while it trains.

    With the sparsity `s_t` that the schedule gives after step `t`, of `n` weights those stay whose
    magnitude is at least the `k`-th largest, `k = max(round(n · (1 − s_t)), 1)`. They are chosen
    anew every `frequency` steps while the schedule runs; after each step all others are exactly
    zero. What begins at step 0 is pruned at once. A step is one batch of training, as in
    `kdl.training.WarmUpCosine`, also where `gradient_accumulation_steps` of Keras's optimizers
    joins several batches to one update.

    Train the result with `compile` and `fit`, then take the plain model with zeros in it by
    `strip`; it quantizes (zeros stay zeros) and exports as every other. To train that one further,
    prune it with `schedule=None`.

    Args:
        model: A functional or Sequential model, built; its own weights are not touched.
        schedule: `PolynomialSparsity`, `ConstantSparsity` or your own `SparsitySchedule`; or None,
            which keeps the zeros that the kernels have.
        scope: Whose weights are compared: `"layer"` (default), so that each kernel has the same
            sparsity, or `"global"`, so that all together have it.
        n_of_m: Pair `(n, m)`, as `(2, 4)`: of each `m` weights that follow each other along the
            input channels of a kernel the `n` largest stay. The schedule's final sparsity must be
            `1 − n / m`; on the way there `round(m · (1 − s_t))` stay.
        skip: What is not pruned: any of `"first"`, `"last"` (layer with a kernel), `"depthwise"`,
            `"grouped"` (convolutions), and names of layers. Defaults to depthwise convolutions,
            which have few weights. All other convolutions and dense layers are pruned.

    Returns:
        A `PrunedModel`, not compiled.

    Raises:
        ValueError: If the model is not functional, has nothing to prune or was quantized by Keras,
            `skip` names what is not there, or an argument does not fit.

    Source: Zhu and Gupta (arXiv 1710.01878); N:M: Mishra et al. (arXiv 2104.08378).

    Example:
        >>> import keras, numpy as np
        >>> from kdl.compression import ConstantSparsity, strip
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(10)(inputs))
        >>> pruned = prune(model, ConstantSparsity(0.75))
        >>> pruned.compile("adam", "mse")
        >>> data = np.ones((8, 4), "float32"), np.ones((8, 10), "float32")
        >>> history = pruned.fit(*data, verbose=0)
        >>> int(np.sum(strip(pruned).get_weights()[0] == 0))
        30
    """
    check_choice("scope", scope, SCOPES)
    if schedule is not None and not isinstance(schedule, SparsitySchedule):
        raise ValueError(
            f"schedule must be a SparsitySchedule, such as ConstantSparsity(0.5), or None; "
            f"received {schedule!r}."
        )
    if n_of_m is not None:
        _check_n_of_m(n_of_m, schedule, scope)
    network = copy_model(model)
    kernels = _chosen(network, skip, n_of_m)
    position = {id(variable): i for i, variable in enumerate(network.variables)}
    places = [(position[id(kernel.variable)], kernel.input_axis) for kernel in kernels]
    pruned = PrunedModel(network, places, schedule, scope, n_of_m, name=f"{model.name}_pruned")
    if schedule is None:
        pruned.keep_zeros()
    else:
        pruned.update_masks()
    return pruned


def _chosen(model, skip, n_of_m):
    kernels = find_kernels(model)
    _check_trained(kernels, model)
    names = [kernel.layer.name for kernel in kernels]
    unknown = sorted({*skip} - {*names, *_KINDS})
    if isinstance(skip, str) or unknown:
        raise ValueError(
            f"skip must hold any of {', '.join(map(repr, _KINDS))} and names of layers with a "
            f"kernel; received {skip!r}."
        )
    skipped = {*skip}
    if n_of_m is not None:
        skipped.add("depthwise")
    ends = {"first": kernels[:1], "last": kernels[-1:]}
    ends = {id(k.layer) for end in ends.keys() & skipped for k in ends[end]}
    chosen = [
        k for k in kernels if not skipped & {k.layer.name, *k.traits} and id(k.layer) not in ends
    ]
    if not chosen:
        raise ValueError(
            f"{model.name} has no convolution or dense layer to prune besides those that are "
            f"skipped: {skip!r}."
        )
    return chosen


def _check_trained(kernels, model):
    modes = {x.layer.name: x.quantization_mode for x in kernels if x.quantization_mode}
    if modes:
        raise ValueError(
            f"{', '.join(modes)} of {model.name} were quantized to {next(iter(modes.values()))} by "
            f"Keras's quantize, after which no kernel is trained. Prune the model before."
        )


def _check_n_of_m(pair, schedule, scope):
    if len(pair) != 2 or not all(map(is_integer, pair)) or not 0 < pair[0] < pair[1]:
        raise ValueError(f"n_of_m must be integers (n, m) with 0 < n < m; received {pair!r}.")
    if scope != "layer":
        raise ValueError(f"With n_of_m the scope must be 'layer'; received {scope!r}.")
    n, m = pair
    if schedule is not None and abs(float(schedule(schedule.end_step)) - (1 - n / m)) > 1e-6:
        raise ValueError(
            f"{n} of {m} weights is a sparsity of {1 - n / m}; the schedule ends with "
            f"{float(schedule(schedule.end_step)):.6g}. Give it that sparsity."
        )
