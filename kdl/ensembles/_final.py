"""The final estimator of a stack: as plain values for the manifest, and as a Keras layer."""

import base64
import pickle

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression

from kdl.ensembles._describe import as_json
from kdl.graph.copy_weights import set_weights

_LEARNED = ("coef_", "intercept_", "classes_", "n_iter_")


def as_state(estimator):
    """Values that JSON can hold: those of a logistic regression, or a pickle of any other."""
    parameters = estimator.get_params() if type(estimator) is LogisticRegression else None
    if parameters is None or not all(map(as_json, parameters.values())):
        return {"pickle": base64.b64encode(pickle.dumps(estimator)).decode()}
    learned = {name: getattr(estimator, name).tolist() for name in _LEARNED}
    return {"parameters": parameters, "learned": learned}


def from_state(state, allow_pickle):
    """The estimator.

    Raises:
        ValueError: If it is pickled, and pickles are not allowed.
    """
    if "pickle" in state:
        if not allow_pickle:
            raise ValueError(
                "The final estimator is pickled, and reading a pickle runs whatever its author put "
                "there. If you trust the directory, pass allow_pickle=True."
            )
        return pickle.loads(base64.b64decode(state["pickle"]))
    estimator = LogisticRegression(**state["parameters"])
    for name, values in state["learned"].items():
        setattr(estimator, name, np.array(values))
    estimator.n_features_in_ = estimator.coef_.shape[1]
    return estimator


def _has_one_softmax(estimator):
    """True if probabilities are one softmax of all classes, and not made of one for each class."""
    if len(estimator.coef_) == 1:
        return True
    form = getattr(estimator, "multi_class", "auto")
    return form == "multinomial" or (form != "ovr" and estimator.solver != "liblinear")


def symbolic(estimator, features):
    """Probabilities of a logistic regression, as a Keras tensor.

    Raises:
        ValueError: If it is something else.
    """
    if type(estimator) is not LogisticRegression or not _has_one_softmax(estimator):
        raise ValueError(
            f"to_keras knows LogisticRegression as the final estimator, with one softmax for all "
            f"classes; this one is {estimator!r}."
        )
    kernel, bias = estimator.coef_.T, estimator.intercept_
    if kernel.shape[1] == 1:  # σ(z) is the softmax of 0 and z
        kernel, bias = np.pad(kernel, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    layer = keras.layers.Dense(len(bias), activation="softmax", name="final_estimator")
    outputs = layer(features)
    set_weights(layer, [kernel, bias])
    return outputs
