"""Losses and optimizers of Keras 3 as plain data for tf_keras."""

import keras
import numpy as np

from kdl._compat import excludes_from_weight_decay, loss_arguments

# Optimizer → its own arguments, which tf_keras has under the same names.
_OPTIMIZERS = {
    "Adadelta": ("rho", "epsilon"),
    "Adagrad": ("initial_accumulator_value", "epsilon"),
    "Adam": ("beta_1", "beta_2", "epsilon", "amsgrad"),
    "AdamW": ("beta_1", "beta_2", "epsilon", "amsgrad"),
    "Adamax": ("beta_1", "beta_2", "epsilon"),
    "Nadam": ("beta_1", "beta_2", "epsilon"),
    "RMSprop": ("rho", "momentum", "epsilon", "centered"),
    "SGD": ("momentum", "nesterov"),
}
_COMMON = ("weight_decay", "clipnorm", "clipvalue", "global_clipnorm")

# What tf_keras has not; their values that change nothing.
_UNKNOWN = {
    "use_ema": False,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}

_MEANS = ("mean", "mean_with_sample_weight", "sum_over_batch_size")

# Loss → its own arguments.
_LOSSES = {
    "BinaryCrossentropy": ("from_logits", "label_smoothing", "axis"),
    "CategoricalCrossentropy": ("from_logits", "label_smoothing", "axis"),
    "CosineSimilarity": ("axis",),
    "Hinge": (),
    "Huber": ("delta",),
    "KLDivergence": (),
    "MeanAbsoluteError": (),
    "MeanSquaredError": (),
    "SparseCategoricalCrossentropy": ("from_logits", "ignore_class"),
    "SquaredHinge": (),
}


def as_job(loss, optimizer):
    """`loss` and `optimizer` as a dict for JSON; ValueError where tf_keras has no such."""
    return {"loss": _loss(loss), "optimizer": _optimizer(optimizer)}


def learning_rates(optimizer, steps):
    """Rate of each step where the optimizer has a schedule, else None."""
    rate = keras.optimizers.get(optimizer).get_config()["learning_rate"]
    if not isinstance(rate, dict):
        return None
    schedule = keras.saving.deserialize_keras_object(rate)
    rates = [keras.ops.convert_to_numpy(schedule(step)) for step in range(steps)]
    return np.array(rates, "float32")


def _optimizer(optimizer):
    optimizer = keras.optimizers.get(optimizer)
    name, config = type(optimizer).__name__, optimizer.get_config()
    own = _OPTIMIZERS.get(name)
    if own is None:
        raise ValueError(f"optimizer must be one of {', '.join(_OPTIMIZERS)}; received {name}.")
    for key, usual in _UNKNOWN.items():
        if config.get(key) != usual:
            raise ValueError(f"tf_keras has no {key} here: leave it at {usual}.")
    if excludes_from_weight_decay(optimizer):
        raise ValueError(
            "exclude_from_weight_decay tells variables of Keras 3, and tf_keras trains copies of "
            "them: train without it, or without weight_decay."
        )
    rate = config["learning_rate"]
    found = {key: config[key] for key in (*own, *_COMMON) if config.get(key) is not None}
    # The rate of a schedule is set at each step.
    found["learning_rate"] = 0.001 if isinstance(rate, dict) else float(rate)
    return {"class_name": name, "config": found}


def _loss(loss):
    known = keras.losses.get(loss)
    if isinstance(loss, str):
        return _function_name(loss, known)
    name = type(loss).__name__
    if name not in _LOSSES or not isinstance(loss, getattr(keras.losses, name)):
        raise ValueError(
            f"loss must be the name of a Keras loss, or one of {', '.join(_LOSSES)}; received "
            f"{loss!r}."
        )
    config, usual = loss.get_config(), loss_arguments(type(loss)())
    for key, value in loss_arguments(loss).items():
        if key not in _LOSSES[name] and value != usual[key]:
            raise ValueError(f"tf_keras has no {key} of {name}: leave it at {usual[key]}.")
    found = {key: config[key] for key in _LOSSES[name] if key in config}
    if config["reduction"] == "sum":
        found["reduction"] = "sum"
    elif config["reduction"] not in _MEANS:
        raise ValueError(
            f"The reduction of a loss must be a mean or 'sum' here; received "
            f"{config['reduction']!r}."
        )
    return {"class_name": name, "config": found}


def _function_name(loss, known):
    return getattr(known, "__name__", None) or loss
