"""Knowledge distillation: a student that learns from labels and from a teacher."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from kdl import layers
from kdl._typing import Tensor
from kdl._words import some_of
from kdl.compression.distillation._view import View
from kdl.data.model_info import get_model_info
from kdl.graph import copy_model
from kdl.graph.wrapper import is_wrapper, network_of, strip_first
from kdl.ops.replicas import summed_replicas
from kdl.training.post_step_model import PostStepModel


@keras.saving.register_keras_serializable("kdl")
class Distillation(PostStepModel):
    """A model that trains its student beside its teacher; made by `distill`, which has the formula.

    Compile it with the loss and the metrics of the student. It gives the student's outputs; the
    loss of `evaluate` is the student's alone, without the teacher. A `PrunedModel` as the student
    is pruned on the way.

    The losses of `keras.distillation` are used, but not its `Distiller`: with features that one
    runs the student twice a step and lets its batch norms follow the data of `evaluate`, and it
    leaves out sample weights and regularizers (Keras 3.15.1).

    Attributes:
        student: The model that is trained.
        teacher: The frozen model.
        projections: For each pair of features the layer that gives the student's the channels of
            the teacher's, or None.

    Args:
        student: A functional or Sequential model with one output, or a `PrunedModel`.
        teacher: The same, with an output of the same shape.
        temperature: `T`, above 0.
        alpha: Share of the labels, from 0 to 1.
        features: Pairs of names: layer of the student, layer of the teacher.
        feature_weight: Weight of the features' loss.
        from_logits: Whether both give logits (True) or probabilities (False); None to see it from
            their last layers.
        name: Name of the model.

    Raises:
        ValueError: If the models or the features do not fit each other.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        temperature: float = 4.0,
        alpha: float = 0.1,
        features: Iterable[tuple[str, str]] = (),
        feature_weight: float = 1.0,
        from_logits: bool | None = None,
        name: str | None = "distillation",
    ) -> None:
        _check_model("student", student)
        _check_model("teacher", teacher)
        # Student and teacher cast their inputs themselves.
        super().__init__(name=name, dtype=student.dtype_policy, autocast=False)
        _check_loss(student)
        _check_apart(student, teacher)
        self.temperature = temperature
        self.alpha = alpha
        self.features = tuple((ours, theirs) for ours, theirs in features)
        self.feature_weight = feature_weight
        self.from_logits = from_logits
        self._view = View(network_of(student), [ours for ours, _ in self.features], from_logits)
        self._teacher_view = View(
            network_of(teacher), [theirs for _, theirs in self.features], from_logits
        )
        _check_outputs(self._view.output_shape, self._teacher_view.output_shape)
        self.projections = [
            _projection(pair, ours, theirs, f"projection_{i}")
            for i, (pair, ours, theirs) in enumerate(
                zip(
                    self.features,
                    self._view.feature_shapes,
                    self._teacher_view.feature_shapes,
                    strict=True,
                )
            )
        ]
        # The name "kl_divergence" in place of the object would leave out softmax and T²; with a
        # reduction of its own the object would divide by the number of replicas a second time.
        self._soft_loss = keras.distillation.LogitsDistillation(
            float(temperature), loss=keras.losses.KLDivergence(reduction="none")
        )
        self._feature_loss = keras.distillation.FeatureDistillation(loss="mse")
        self.student = student
        self.teacher = teacher
        self.teacher.trainable = False
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Tensor:
        """The student's outputs; in training the teacher's part of the loss is added."""
        if not training:
            return self.student(inputs, training=False)
        outputs, logits, features = self._view(inputs, training=True)
        target, targets = self._teacher_outputs(inputs)
        loss = self._soft_loss.compute_loss(target, logits)
        for theirs, feature, project in zip(targets, features, self.projections, strict=True):
            feature = feature if project is None else ops.cast(project(feature), "float32")
            loss = loss + self.feature_weight * self._feature_loss.compute_loss(theirs, feature)
        self.add_loss((1 - self.alpha) * loss)
        return outputs

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does; an `ImageFolder` must be of the teacher's kind.

        Raises:
            ValueError: If both know the names of their classes, or how images become inputs, and
                these differ.
        """
        teacher = network_of(self.teacher)
        check_info("The data", getattr(x, "class_names", None), getattr(x, "spec", None), teacher)
        return super().fit(x, *args, **kwargs)

    def _teacher_outputs(self, inputs):
        # What the teacher's layers add to the losses is dropped in this scope.
        with keras.StatelessScope([(v, v.value) for v in self.teacher.variables]):
            _, target, targets = self._teacher_view(inputs, training=False)
        return ops.stop_gradient(target), [ops.stop_gradient(x) for x in targets]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """`alpha` times the compiled loss, and all that was added besides."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        # `loss` holds the compiled one and the added ones, of which nothing is to be taken off.
        return self.alpha * loss + (1 - self.alpha) * sum(self.losses) / summed_replicas()

    def after_step(self) -> None:
        """Calls the hook of a student that has one: of one that is pruned it keeps the masks."""
        self._call_student("after_step")

    def after_fit(self) -> None:
        """Calls the hook of a student that has one: of one that is pruned it keeps the zeros."""
        self._call_student("after_fit")

    def _call_student(self, hook):
        getattr(self.student, hook, lambda: None)()

    def network(self) -> keras.Model:
        """The student, or the network in it, which is trained."""
        return network_of(self.student)

    def stripped(self) -> keras.Model:
        """A copy of the student, stripped itself if it is a pruned one."""
        student = self.student
        return student.stripped() if is_wrapper(student) else copy_model(student)

    def copy_with(self, copy: Callable, name: str | None) -> "Distillation":
        """This model around copies of student and teacher, for `kdl.graph.copy_model`."""
        return type(self)(
            copy(self.student),
            copy(self.teacher),
            self.temperature,
            self.alpha,
            self.features,
            self.feature_weight,
            self.from_logits,
            name,
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        serialize = keras.saving.serialize_keras_object
        return {
            "student": serialize(self.student),
            "teacher": serialize(self.teacher),
            "temperature": self.temperature,
            "alpha": self.alpha,
            "features": self.features,
            "feature_weight": self.feature_weight,
            "from_logits": self.from_logits,
            "name": self.name,
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Distillation":
        """The model with these arguments."""
        made = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("student", "teacher")
        }
        return cls(**{**config, **made})


def _check_model(argument, model):
    if isinstance(model, keras.Model):
        return
    if is_wrapper(model):
        raise ValueError(f"{argument} must be a keras.Model. {strip_first(model)}")
    raise ValueError(f"{argument} must be a keras.Model; received {model!r}.")


def _check_loss(student):
    """Raises ValueError if a model around the student's network has a loss, never computed here."""
    if is_wrapper(student) and type(student).compute_loss is not keras.Model.compute_loss:
        raise ValueError(
            f"The student learns from a loss of its own, which would be left out. "
            f"{strip_first(student)}"
        )


def _check_apart(student, teacher):
    shared = {id(v) for v in student.variables} & {id(v) for v in teacher.variables}
    if shared:
        raise ValueError(
            f"Student and teacher must not share weights, as the teacher's are frozen; "
            f"{student.name} and {teacher.name} share {len(shared)}. Make one of them from a copy."
        )


def check_info(who, class_names, spec, teacher):
    """Raises ValueError if a teacher has other classes, or takes its images otherwise.

    Args:
        who: What the message calls the student or the data.
        class_names: Its class names, or None.
        spec: Its `InputSpec`, or None.
        teacher: The teacher's network, which may know either.
    """
    known = get_model_info(teacher)
    if class_names and known.labels and list(class_names) != list(known.labels):
        raise ValueError(
            f"{who} has the classes {some_of(class_names)}, the teacher {teacher.name} has "
            f"{some_of(known.labels)}: it would teach the wrong ones. Bring them into one order."
        )
    if spec and known.input_spec and not spec.agrees_with(known.input_spec):
        raise ValueError(
            f"Student and teacher get the same images: {who} takes them by {spec}, the teacher "
            f"{teacher.name} by {known.input_spec}. Put a Rescaling in front of one."
        )


def _check_outputs(student, teacher):
    if student != teacher:
        raise ValueError(
            f"Student and teacher must give outputs of the same shape; received {student} and "
            f"{teacher}. Give both the same classes."
        )


def _projection(names, student, teacher, name):
    """A layer that gives features of one shape the channels of another; None if they have them."""
    channels_first = keras.config.image_data_format() == "channels_first" and len(student) == 4
    axis = 1 if channels_first else len(student) - 1
    if len(student) != len(teacher) or _without(student, axis) != _without(teacher, axis):
        raise ValueError(
            f"Features may differ in their channels only; {names[0]!r} of the student gives "
            f"{student}, {names[1]!r} of the teacher {teacher}. Choose layers of equal stride."
        )
    if student == teacher:
        return None
    if len(student) == 4:
        layer = layers.Conv2D(teacher[axis], 1, name=name)
    else:
        layer = keras.layers.Dense(teacher[axis], name=name)
    layer.build(student)
    return layer


def _without(shape, axis):
    return [*shape[:axis], *shape[axis + 1 :]]
