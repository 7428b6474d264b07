"""TensorFlow Model Optimization's process, started by `kdl.compression.tfmot._process`."""

import time

import numpy as np

from kdl._child import serve
from kdl.compression.tfmot._arrays import grouped, named, numbered
from kdl.compression.tfmot._tf_methods import METHODS
from kdl.compression.tfmot._tf_model import build, prove

# Seconds between two lines on the progress of an epoch.
_PROGRESS = 0.2


def main(folder):
    """Carries out the jobs that it is sent, one after the other."""
    serve(folder, lambda job, say: _Job(job, say).carry_out())


class _Job:
    """One job: a model is built, wrapped, and trained, run or converted."""

    def __init__(self, job, say):
        import tensorflow as tf
        import tensorflow_model_optimization as tfmot
        import tf_keras

        tf_keras.backend.clear_session()
        if job["seed"] is not None:
            tf_keras.utils.set_random_seed(job["seed"])
        self.tf, self.keras, self.job, self.say = tf, tf_keras, job, say
        self.arrays = dict(np.load(job["arrays"]))
        self.method = METHODS[job["method"]["kind"]](tf, tf_keras, tfmot, job["method"])

    def carry_out(self):
        """Does the task, and leaves its arrays in a file."""
        self.model = build(self.tf, self.keras, self.job["graph"], grouped(self.arrays, "weight"))
        prove(self.model, numbered(self.arrays, "sample"), numbered(self.arrays, "expected"))
        # Nothing in it needs autograph, which would double the time.
        apply = self.tf.autograph.experimental.do_not_convert(self.method.apply)
        self.wrapped = apply(self.model, self.job["graph"])
        state = numbered(self.arrays, "state")
        if state:
            self.wrapped.set_weights(state)
        results = getattr(self, f"_{self.job['task']}")()
        np.savez(self.job["results"], **results)

    def _fit(self):
        job, inputs = self.job, numbered(self.arrays, "x")
        if not numbered(self.arrays, "state"):
            self.method.start(self.wrapped, self.model, inputs)
        self.wrapped.compile(
            _optimizer(self.keras, job["optimizer"]), _loss(self.keras, job["loss"]), job["metrics"]
        )
        self._make_variables(inputs)
        validation = None
        if "x_validation/0" in self.arrays:
            validation = numbered(self.arrays, "x_validation"), self._targets("y_validation")
        callbacks = [*self.method.callbacks(), _progress(self.keras, self.say)]
        if "rates" in self.arrays:
            callbacks.append(_rates(self.keras, self.arrays["rates"]))
        history = self.wrapped.fit(
            inputs,
            self._targets("y"),
            batch_size=job["batch_size"],
            epochs=job["epochs"],
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )
        self.say("history", history=history.history)
        results = named("state", self.wrapped.get_weights())
        for name, arrays in self.method.weights(self.wrapped, self.model).items():
            results.update(named(f"weight/{name}", arrays))
        return results

    def _make_variables(self, inputs):
        """Makes those of optimizer, loss and metrics, for which training would be traced twice."""
        self.wrapped.optimizer.build(self.wrapped.trainable_variables)
        outputs = self.wrapped([x[:1] for x in inputs], training=False)
        targets = self.tf.nest.map_structure(lambda y: self.tf.constant(y[:1]), self._targets("y"))
        self.wrapped.compiled_loss(targets, outputs)
        self.wrapped.compiled_metrics.update_state(targets, outputs)

    def _targets(self, kind):
        targets = numbered(self.arrays, kind)
        return targets if len(targets) > 1 else targets[0]

    def _predict(self):
        outputs = self.wrapped.predict(numbered(self.arrays, "x"), batch_size=32, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        return named("output", outputs)

    def _convert(self):
        """The int8 file, beside the outputs that it must give."""
        content = np.frombuffer(_int8(self.tf, self.wrapped, self.job), "uint8")
        return {**self._predict(), "tflite": content}


def _optimizer(keras, settings):
    return getattr(keras.optimizers, settings["class_name"])(**settings["config"])


def _loss(keras, settings):
    if isinstance(settings, str):
        return settings
    return getattr(keras.losses, settings["class_name"])(**settings["config"])


def _progress(keras, say):
    class Progress(keras.callbacks.Callback):
        """Tells how training goes on."""

        last = 0.0

        def on_train_begin(self, logs=None):
            say("begin", steps=self.params["steps"], epochs=self.params["epochs"])

        def on_train_batch_end(self, batch, logs=None):
            if time.monotonic() - self.last > _PROGRESS:
                self.last = time.monotonic()
                say("batch", step=batch + 1, logs=_numbers(logs))

        def on_epoch_end(self, epoch, logs=None):
            say("epoch", epoch=epoch + 1, logs=_numbers(logs))

    return Progress()


def _numbers(logs):
    return {name: float(value) for name, value in (logs or {}).items()}


def _rates(keras, rates):
    class Rates(keras.callbacks.Callback):
        """Sets the learning rate of each step."""

        step = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.model.optimizer.learning_rate.assign(rates[min(self.step, len(rates) - 1)])
            self.step += 1

    return Rates()


def _int8(tf, model, job):
    """Bytes of the int8 file; without representative data, or the converter would measure anew."""
    module = tf.Module()
    module.kept = list(model.variables)
    specs = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in job["inputs"]]

    @tf.function(input_signature=specs)
    def serve(*arrays):
        inputs = arrays[0] if len(arrays) == 1 else list(arrays)
        outputs = tf.nest.flatten(model(inputs, training=False))
        return dict(zip(job["output_names"], outputs, strict=True))

    module.serve = serve
    function = serve.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()
