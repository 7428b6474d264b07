"""Makes the ensembles of this folder.

They were saved by kdl 0.1.0 on PyTorch and must load in every later version: this script shows how
they were made, and is not to be run again into the same folder.

    KERAS_BACKEND=torch python saved_models/ensembles/make.py FOLDER
"""

import json
import pathlib
import sys

import keras
import numpy as np

from kdl.ensembles import (
    AdaBoostEnsemble,
    BaggingEnsemble,
    DeepEnsemble,
    GradientBoostedEnsemble,
    StackingEnsemble,
    VotingEnsemble,
)


def network(units=3, end="softmax", loss="sparse_categorical_crossentropy"):
    """A compiled network of two layers."""
    layers = [keras.Input((2,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(units, end)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.05), loss)
    return model


x = np.stack(np.meshgrid(np.arange(5.0), np.arange(4.0)), -1).reshape(-1, 2).astype("float32") / 4
labels = np.array(["kale", "leek", "mint"])[(2 * x[:, 0] + x[:, 1]).astype(int)]
numbers = np.stack([x.sum(-1), x[:, 0] * x[:, 1]], -1)
fit = {"epochs": 6, "batch_size": 5}
named = [("one", network()), ("two", network(), {"epochs": 3})]
ensembles = {
    "ada_boost": AdaBoostEnsemble(network(), 3, fit),
    "bagging": BaggingEnsemble(network(), 2, fit, max_samples=0.8, voting="hard"),
    "deep": DeepEnsemble(network(2, None, "mse"), 2, fit, task="regression"),
    "gradient_boosted": GradientBoostedEnsemble(network(3, None, "mse"), 2, fit),
    "stacking": StackingEnsemble(named[:1], cv=2, fit_arguments=fit, seed=3),
    "voting": VotingEnsemble(named, weights=[1, 2], fit_arguments=fit),
}
folder = pathlib.Path(sys.argv[1])
outputs = {}
for name, ensemble in ensembles.items():
    targets = numbers if name == "deep" else labels
    ensemble.fit(x, targets).save(folder / name)
    output = ensemble.predict if name == "deep" else ensemble.predict_proba
    outputs[name] = output(x).tolist()
(folder / "outputs.json").write_text(json.dumps({"x": x.tolist(), "outputs": outputs}))
