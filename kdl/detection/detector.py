"""Base class of the detectors: losses in `fit`, detections in `predict`, serialization."""

import types
from typing import Any, ClassVar

import keras
from keras import ops

from kdl._compat import all_layers
from kdl._typing import ArrayLike, Tensor
from kdl.applications.model_state import from_state, with_state
from kdl.detection._box_losses import check_losses, check_settings
from kdl.detection._truth_checks import check_data
from kdl.ops.replicas import summed_replicas

# Arguments of Keras's `compile` that are handed on as they are.
_ENGINE = ("run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss")


class Detector(keras.Model):
    """Base of detectors: a functional model from images to raw outputs, which knows its losses.

    `fit(images, truth)` trains it on ground truth as it stands, a dict of `"boxes"` float
    `(batch, G, 4)`, xyxy in pixels, and `"labels"` `(batch, G)`, the classes `0 … K − 1` and −1 in
    padded rows; `"ignore"` `(batch, G)` marks boxes that are neither objects nor background, such
    as crowds. `predict` gives detections, a dict of arrays:

    - `"boxes"` `(batch, max_detections, 4)`, xyxy in pixels,
    - `"labels"`, `"scores"` `(batch, max_detections)`, by falling score,
    - `"num_detections"` `(batch,)`; rows beyond are −1.

    Metrics of detections, such as `kdl.metrics.CocoMeanAveragePrecision`, are of the whole set and
    go into the callback `kdl.training.HostEvaluation`; `evaluate` gives the losses.

    A subclass builds its graph, hands it over here with its arguments, and implements
    `default_losses`, `class_loss_settings` and `loss_terms`.

    Args:
        inputs: The images.
        outputs: Dict of the raw outputs.
        decoder: Layer from raw outputs to detections, without weights.
        arguments: The constructor's arguments as plain data, without `name`.
        name: Name of the model.
    """

    losses_of_terms: ClassVar[tuple[str, ...]] = ("box_loss", "class_loss")

    def __init__(
        self,
        inputs: keras.KerasTensor,
        outputs: dict[str, keras.KerasTensor],
        decoder: keras.layers.Layer,
        arguments: dict[str, Any],
        name: str | None,
    ) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self._arguments = arguments
        # What lies in here is neither saved with the model nor listed among its layers.
        self._aside = types.SimpleNamespace(decoder=decoder, predictor=None, names={})
        self._term_means = {term: keras.metrics.Mean(name=term) for term in self.losses_of_terms}

    @property
    def decoder(self) -> keras.layers.Layer:
        """The layer from raw outputs to detections."""
        return self._aside.decoder

    def compile(
        self,
        optimizer: str | keras.Optimizer = "adam",
        box_loss: keras.losses.Loss | None = None,
        class_loss: keras.losses.Loss | None = None,
        loss_weights: dict[str, float] | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Set the optimizer and the losses.

        Args:
            optimizer: As in Keras.
            box_loss: Loss of the boxes, a sum. `kdl.losses.SmoothL1` gets offsets from anchors, IoU
                losses get boxes, and `kdl.losses.RepulsionLoss` all truths beside them. Each is
                divided by the positive anchors of the batch. Defaults to that of the paper.
            class_loss: Loss of the classes, a sum that divides by the positive anchors itself:
                `kdl.losses.FocalLoss` or `kdl.losses.HardNegativeMining` of logits. Defaults to
                that of the paper.
            loss_weights: Dict of `"box_loss"`, `"class_loss"` → weight. Defaults to ones.
            run_eagerly: As in Keras, like all that follow.
            steps_per_execution: Batches in one call of the compiled step.
            jit_compile: Whether XLA compiles the step.
            auto_scale_loss: Whether the loss is scaled where layers compute in float16.

        Raises:
            ValueError: If a loss is no sum of logits' losses, or a weight of none of the losses.
        """
        self._compile(locals())

    def default_losses(self) -> dict[str, keras.losses.Loss]:
        """The losses that `compile` takes where none is given, by the names of its arguments."""
        raise NotImplementedError

    def class_loss_settings(self) -> dict[str, Any]:
        """Settings that a loss of classes must have, if it has such, to fit the head's columns."""
        raise NotImplementedError

    def reference_names(self) -> dict[str, dict[str, str]]:
        """Names of the layers in torchvision, as data; none if the backbone has no such names."""
        return self._aside.names

    def fit(self, x: Any = None, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train as `keras.Model.fit` does; truth in NumPy arrays is looked at before.

        Raises:
            ValueError: If a data set names more classes than the detector has; if labels in an
                array are not below their number, or boxes are no `(x1, y1, x2, y2)` in pixels.
        """
        check_data(x, y, self._arguments["classes"])
        return super().fit(x, y, *args, **kwargs)

    def loss_terms(
        self,
        truth: dict[str, ArrayLike],
        outputs: dict[str, Tensor],
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> dict[str, Tensor]:
        """Each loss of a batch, by its name.

        Args:
            truth: Ground truth, as above.
            outputs: Raw outputs.
            sample_weight: Weight of each image `(batch,)`. Defaults to None.
            training: Whether layers that the losses call are in training. Defaults to True.
        """
        raise NotImplementedError

    def decode(self, outputs: dict[str, ArrayLike]) -> dict[str, Tensor]:
        """Detections of raw outputs."""
        return self.decoder(outputs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The weighted sum of the losses, and what layers added."""
        if isinstance(sample_weight, dict):  # Keras gives each array of the truth the weights
            sample_weight = next(iter(sample_weight.values()))
        terms = self.loss_terms(_checked_truth(y), y_pred, sample_weight, training)
        size = ops.shape(keras.tree.flatten(y_pred)[0])[0]
        total = super().compute_loss(x, y, y_pred, None, training) if self.losses else 0.0
        for name, value in terms.items():
            # A replica has its part of the sum.
            self._term_means[name].update_state(value * summed_replicas(), sample_weight=size)
            total = total + self._aside.loss_weights[name] * value
        return total

    def inference_model(self) -> keras.Model:
        """Model from images to detections, with this one's layers and weights."""
        return keras.Model(self.inputs[0], self.decode(self.output), name=f"{self.name}_detections")

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> dict[str, Any]:
        """Detections of images; arguments as in Keras."""
        return self._predictor().predict(x, batch_size, verbose, steps, callbacks)

    def predict_on_batch(self, x: Any) -> dict[str, Any]:
        """Detections of a batch of images."""
        return self._predictor().predict_on_batch(x)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, parts in their serialized form; and what is frozen."""
        return with_state(self, {**self._arguments, "name": self.name})

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "Detector":
        """The detector of a config."""
        return from_state(cls, config)

    def get_compile_config(self) -> dict[str, Any]:
        """The arguments of `compile`, serialized."""
        if not self.compiled:
            return {}
        return keras.saving.serialize_keras_object(self._aside.compiled_with)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as `get_compile_config` tells."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def _compile(self, arguments):
        """Compile with the arguments of `compile`, its `locals()`."""
        given = {name: arguments[name] for name in self.losses_of_terms}
        chosen = {**self.default_losses(), **{k: v for k, v in given.items() if v is not None}}
        check_losses(**chosen)
        check_settings(self, chosen["class_loss"], self.class_loss_settings())
        weights = dict(arguments["loss_weights"] or {})
        unknown = sorted(weights.keys() - set(self.losses_of_terms))
        if unknown:
            raise ValueError(
                f"loss_weights has {unknown}; the losses are {list(self.losses_of_terms)}."
            )
        engine = {name: arguments[name] for name in _ENGINE}
        super().compile(self._scaled(arguments["optimizer"], engine), **engine)
        # Of the sums among these the parts of several processes are joined as such.
        self.loss = dict(chosen)
        self._aside.losses, self._aside.predictor = chosen, None
        self._aside.loss_weights = {name: weights.get(name, 1.0) for name in self.losses_of_terms}
        self._aside.compiled_with = {
            "optimizer": self.optimizer,
            **chosen,
            "loss_weights": arguments["loss_weights"],
            **engine,
        }

    def _scaled(self, optimizer, engine):
        """The optimizer, with a loss scale if a layer computes in float16, whoever made it so."""
        optimizer = keras.optimizers.get(optimizer)
        halves = any(x.compute_dtype == "float16" for x in all_layers(self))
        is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if engine["auto_scale_loss"] and halves and not is_scaled:
            return keras.optimizers.LossScaleOptimizer(optimizer)
        return optimizer

    def _predictor(self):
        if self._aside.predictor is None:
            self._aside.predictor = self.inference_model()
            if self.compiled:
                engine = {name: self._aside.compiled_with[name] for name in _ENGINE}
                self._aside.predictor.compile(**engine)
        return self._aside.predictor


def _checked_truth(truth):
    """The ground truth, or ValueError if it is none."""
    if not isinstance(truth, dict) or not {"boxes", "labels"} <= truth.keys():
        received = sorted(truth) if isinstance(truth, dict) else type(truth).__name__
        raise ValueError(
            f"Detectors learn from a dict of 'boxes' (batch, G, 4) and 'labels' (batch, G); "
            f"received {received}."
        )
    return truth
