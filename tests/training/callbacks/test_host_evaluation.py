import keras
import numpy as np
import pytest

from kdl.metrics._host_metric import HostMetric
from kdl.training import HostEvaluation

pytestmark = pytest.mark.every_backend


class Median(HostMetric):
    """Of the predictions: it needs them all."""

    def collect(self, y_true, y_pred):
        return y_pred.ravel()

    def compute(self, parts):
        return {"median": np.median(np.concatenate(parts)), "batches": len(parts)}


def model_and_batches():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    x = np.array([[1.0], [5.0], [2.0]], "float32")
    return model, [(x[:2], x[:2]), (x[2:], x[2:])]


def test_logs_the_whole_set_every_second_epoch():
    model, batches = model_and_batches()
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    evaluation = HostEvaluation(batches, [Median(name="m")], prefix="test_", frequency=2)
    x, y = batches[0]
    model.fit(x, y, epochs=4, verbose=0, callbacks=[evaluation, watch])
    assert ["test_median" in logs for logs in seen] == [False, True, False, True]
    assert seen[3]["test_median"] == 2.0
    assert seen[3]["test_batches"] == 2


def test_metric_in_compiled_step_raises_advice():
    if keras.backend.backend() == "torch":
        pytest.skip("Keras's training step on PyTorch is not compiled")
    model, batches = model_and_batches()
    model.compile("sgd", "mse", metrics=[Median()])
    with pytest.raises(RuntimeError, match="HostEvaluation"):
        model.evaluate(*batches[0], verbose=0)


def test_sample_weights_reach_the_metrics():
    model, batches = model_and_batches()
    weighted = [(x, np.zeros_like(y), np.arange(len(x), dtype="float32")) for x, y in batches]
    found = HostEvaluation(weighted, [keras.metrics.MeanSquaredError("mse")]).evaluate(model)
    assert found == {"mse": 25.0}  # only the second sample has a weight
    with pytest.raises(ValueError, match="no sample_weight"):
        HostEvaluation(weighted, [Median()]).evaluate(model)


@pytest.mark.tensorflow
def test_tensorflow_dataset_is_evaluated():
    import tensorflow as tf

    model, batches = model_and_batches()
    x = np.concatenate([x for x, _ in batches])
    data = tf.data.Dataset.from_tensor_slices((x, x))
    assert HostEvaluation(data.batch(2), [Median()]).evaluate(model)["median"] == 2.0


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="at least one metric"):
        HostEvaluation([], [])
    with pytest.raises(ValueError, match="frequency must be"):
        HostEvaluation([], [Median()], frequency=0)
    model, _ = model_and_batches()
    with pytest.raises(ValueError, match="at least one batch"):
        HostEvaluation([], [Median()]).evaluate(model)
    with pytest.raises(ValueError, match="Two metrics give 'median'"):
        HostEvaluation(model_and_batches()[1], [Median(), Median()]).evaluate(model)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_arrays_with_single_metric_are_evaluated(batch_size):
    model, batches = model_and_batches()
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    weights = np.array([0.0, 1.0, 0.0], "float32")
    metric = keras.metrics.MeanSquaredError("mse")
    found = HostEvaluation((x, 0 * y, weights), metric, batch_size=batch_size).evaluate(model)
    assert found == {"mse": 25.0}
    found = HostEvaluation((x, y), Median(), batch_size=batch_size).evaluate(model)
    assert found == {"median": 2.0, "batches": -(-3 // batch_size)}


def test_tuple_of_batches_is_read_as_batches():
    model, batches = model_and_batches()
    found = HostEvaluation(tuple(batches), [Median()]).evaluate(model)
    assert found == {"median": 2.0, "batches": 2}


def test_several_inputs_are_batched_together():
    left, right = keras.Input((1,), name="left"), keras.Input((1,), name="right")
    model = keras.Model({"left": left, "right": right}, keras.layers.Add()([left, right]))
    x = {"left": np.ones((3, 1)), "right": np.arange(3.0)[:, None]}
    found = HostEvaluation((x, np.zeros(3)), Median(), batch_size=2).evaluate(model)
    assert found == {"median": 2.0, "batches": 2}


def test_no_data_or_no_metric_raises():
    with pytest.raises(ValueError, match=r"must have one length; received \[2, 3\]"):
        HostEvaluation((np.ones((3, 1)), np.ones(2)), Median())
    with pytest.raises(ValueError, match=r"must be metric objects.*received 'accuracy'"):
        HostEvaluation([], ["accuracy"])
    with pytest.raises(ValueError, match="batch_size must be a positive integer"):
        HostEvaluation([], Median(), batch_size=0)
