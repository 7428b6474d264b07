import numpy as np
import pytest
from sklearn.base import clone
from stand_ins import blobs, linear_mlp, mlp

from kdl.ensembles import DeepEnsemble, _votes

pytestmark = [pytest.mark.usefixtures("no_dry_run"), pytest.mark.every_backend]


def test_members_of_one_seed_differ():
    x, y = blobs()
    ensemble = clone(DeepEnsemble(mlp, 3, {"epochs": 4, "batch_size": 16})).fit(x, y)
    outputs = ensemble.predict_members(x)
    assert outputs.shape == (3, 90, 3)
    assert ensemble.predict_proba(x) == pytest.approx(outputs.mean(0))
    assert all(abs(outputs[i] - outputs[i - 1]).max() > 1e-3 for i in range(3))
    assert ensemble.score(x, y) > 0.5


def test_uncertainty_is_decomposed_into_entropies():
    x, y = blobs()
    ensemble = DeepEnsemble(mlp, 2, {"epochs": 2}).fit(x, y)
    results, outputs = ensemble.uncertainty(x), ensemble.predict_members(x)
    mean = outputs.mean(0)
    predictive = -(mean * np.log(mean)).sum(-1)
    assert results["predictive_entropy"] == pytest.approx(predictive)
    expected = -(outputs * np.log(outputs)).sum(-1).mean(0)
    assert results["mean_entropy"] == pytest.approx(expected)
    assert results["mutual_information"] == pytest.approx(predictive - expected, abs=1e-9)
    assert results["mutual_information"].max() > 1e-4
    assert _votes.uncertainty(outputs)["mean_entropy"].shape == (90,)


def test_regression_members_differ():
    x, _ = blobs()
    y = x.sum(-1)
    ensemble = DeepEnsemble(linear_mlp, 2, {"epochs": 20}, task="regression").fit(x, y)
    assert ensemble.predict_members(x).std(0).max() > 1e-3
    assert ensemble.score(x, y) > 0.5


def test_sample_weight_of_zero_hides_a_class():
    """Where one class weighs nothing no member finds it."""
    x, y = blobs()
    weights = np.where(y == "leek", 0.0, 1.0)
    ensemble = DeepEnsemble(mlp, 1, {"epochs": 30}).fit(x, y, sample_weight=weights)
    assert "leek" not in ensemble.predict(x[y != "leek"])


def test_fractional_n_members_raises():
    with pytest.raises(ValueError, match=r"n_members must be a positive integer; received 2\.5"):
        DeepEnsemble(mlp, 2.5).fit(*blobs())
