import json

import keras
import numpy as np
import pytest

from kdl.training import Comparison, Recipe, compare_models, train_and_measure

X = np.random.default_rng(0).random((60, 3, 3, 1)).astype("float32")
Y = (X.mean((1, 2, 3)) > 0.5).astype("int64")
TRAIN, TEST = (X[:40], Y[:40]), (X[40:], Y[40:])


def network(units):
    def build(input_shape, classes):
        x = inputs = keras.Input(input_shape)
        x = keras.layers.Dense(units, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))

    return build


def test_rows_tell_size_cost_and_the_accuracy_of_each_epoch(capsys):
    comparison = compare_models({"a": network(4), "b": network(8)}, TRAIN, TEST, Recipe(3), "Both")
    first, second = comparison.rows
    assert (first["name"], first["parameters"], first["macs"]) == ("a", 9 * 4 + 4 + 4 * 2 + 2, 44)
    assert second["macs"] == 88
    assert len(first["history"]) == 3
    assert first["accuracy"] == first["history"][-1]
    assert first["seconds"] > 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("Training")] == ["Training a", "Training b"]
    assert str(comparison).startswith("Both\nnetwork")
    assert f"{first['accuracy']:.4f}" in str(comparison)


def test_each_model_starts_from_the_same_seed(capsys):
    one, other = compare_models({"a": network(4), "b": network(4)}, TRAIN, TEST, Recipe(1)).rows
    assert one["history"] == other["history"]
    [row] = compare_models({"a": network(4)}, TRAIN, TEST, Recipe(1), seed=1, verbose=0).rows
    assert "Training a" in capsys.readouterr().out
    assert row["name"] == "a"


def test_callbacks_go_to_their_model_alone():
    seen = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(1))
    models = {"a": network(2), "b": network(2)(X.shape[1:], 2)}  # one is built already
    compare_models(models, TRAIN, TEST, Recipe(2), callbacks={"b": [callback]}, verbose=0)
    assert len(seen) == 2


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least one model"):
        compare_models({}, TRAIN, TEST, Recipe(1))
    with pytest.raises(ValueError, match=r"callbacks has names that builds lacks: \['c'\]"):
        compare_models({"a": network(2)}, TRAIN, TEST, Recipe(1), callbacks={"c": []})


def test_what_remains_after_training_is_counted():
    inner = network(4)(X.shape[1:], 2)
    outer = keras.Sequential([keras.Input(X.shape[1:]), inner])
    row = train_and_measure("nested", outer, TRAIN, TEST, Recipe(1), trained=inner, verbose=0)
    assert row["parameters"] == inner.count_params()
    with pytest.raises(ValueError, match="'f1' is not logged"):
        train_and_measure("nested", outer, TRAIN, TEST, Recipe(1), monitor="f1", verbose=0)


def test_comparison_is_saved_whole_and_drawn(tmp_path):
    rows = [{"name": "a", "accuracy": 0.5, "history": [0.25, 0.5]}]
    comparison = Comparison(rows, "One")
    comparison.save(tmp_path / "new" / "results.json")
    assert json.loads((tmp_path / "new" / "results.json").read_text()) == rows
    comparison.plot(tmp_path / "new" / "accuracy.png")
    assert (tmp_path / "new" / "accuracy.png").stat().st_size > 5_000
    assert str(comparison).split("\n")[-1].split() == ["a", "0.5000"]
