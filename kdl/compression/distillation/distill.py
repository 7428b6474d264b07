"""Knowledge distillation."""

import keras

from kdl.compression.distillation.distillation import Distillation, check_info
from kdl.data.model_info import get_model_info
from kdl.graph.wrapper import network_of


def distill(
    student: keras.Model,
    teacher: keras.Model,
    temperature: float = 4.0,
    alpha: float = 0.1,
    features: dict[str, str] | None = None,
    feature_weight: float = 1.0,
    from_logits: bool | None = None,
) -> Distillation:
    """Makes a model that trains a student on labels and on what a teacher says of the same inputs.

    With the logits `z_s` of the student, `z_t` of the teacher and the compiled loss `CE`,

        L = α · CE(y, z_s) + (1 − α) · (T² · KL(softmax(z_t / T) ‖ softmax(z_s / T)) + w · F)

    `F` is the sum of the mean squared errors between pairs of features. Where their channels
    differ, the student's first go through a 1×1 convolution that is trained with it.

    Compile the result with the student's loss and metrics and `fit` it; the student is trained in
    place, and `.student` is what to save, export or train on. It runs once a step, and so does the
    teacher. The student may come from `prune` or `quantize_aware`.

    The student's regularizers are added in full. Sample weights count for `CE` alone: images
    without labels teach too, with any label and the weight 0. Where no labels are at all, take
    `alpha=0` and compile without a loss. Models that end in a softmax are fine: its input, or the
    logarithm of a probability, is a logit.

    Args:
        student: A functional or Sequential model with one output, its classes on the last axis, or
            a `PrunedModel` of one.
        teacher: A model of the same inputs and output. It is frozen (its `trainable` becomes False)
            and runs in inference mode.
        temperature: `T`, above 0. Defaults to 4.
        alpha: `α`, share of the labels, from 0 to 1. Defaults to 0.1.
        features: Dict, name of a layer of the student → name of a layer of the teacher whose output
            has the same height and width. None (default) for none.
        feature_weight: `w`, at least 0. Defaults to 1.
        from_logits: Whether both models give logits (True) or probabilities (False). None (default)
            looks at the last layer of each.

    Returns:
        A `Distillation`, not compiled. Its outputs and the loss of `evaluate` are the student's.

    Raises:
        ValueError: If an argument is out of range, a model is not functional, outputs or features
            do not fit, a layer is unknown, both models share weights, remember other classes or
            other preprocessing, or `from_logits` is None and the last layer does not tell.

    Source: Hinton et al. (arXiv 1503.02531); features: FitNets (arXiv 1412.6550).

    Example:
        >>> import keras, numpy as np
        >>> def network(width):
        ...     x = inputs = keras.Input((4,))
        ...     x = keras.layers.Dense(width, activation="relu", name="hidden")(x)
        ...     return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x))
        >>> model = distill(network(2), network(8), features={"hidden": "hidden"})
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> history = model.fit(np.ones((8, 4), "float32"), np.ones(8), verbose=0)
        >>> model.student.count_params()
        19
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; received {temperature!r}.")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1; received {alpha!r}.")
    if not feature_weight >= 0:
        raise ValueError(f"feature_weight must be at least 0; received {feature_weight!r}.")
    if features is not None and not isinstance(features, dict):
        raise ValueError(
            f"features must be a dict from layers of the student to layers of the teacher, such as "
            f"{{'stage3': 'stage4'}}; received {features!r}."
        )
    info, name = get_model_info(network_of(student)), getattr(student, "name", "The student")
    check_info(name, info.labels, info.input_spec, network_of(teacher))
    pairs = (features or {}).items()
    return Distillation(student, teacher, temperature, alpha, pairs, feature_weight, from_logits)
