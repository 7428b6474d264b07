"""Persistence of a trained ensemble: its parameters and what it learned, as plain values.

The manifest of the directory (`_store`) has them: `class`, `arguments` (descriptions that tell one
call of `fit` from another), `parameters` (values that JSON holds), `seed`, `data` (a fingerprint),
`labels` (of the classes), `state` (what was learned) and `members` (key → file).
"""

import copy

import numpy as np

from kdl.ensembles._describe import describe, plain_values
from kdl.ensembles._model_files import read_model
from kdl.ensembles._store import manifest_error


class FittedParameters:
    """The constructor's arguments as `fit` used them: `set_params` is for the next one.

    Args:
        values: Dict of the arguments.
        description: Of an ensemble that was saved: its `arguments` and `parameters`. By default
            they are made from the values.
    """

    def __init__(self, values, description=None):
        self._values = values
        self.description = description or {
            "arguments": {name: describe(value) for name, value in values.items()},
            "parameters": copy.deepcopy(plain_values(values)),
        }

    def get(self, name, default):
        """The value of an argument."""
        return self._values.get(name, default)


def choose_seed(seed, store):
    """The seed of the constructor; for None that of the directory, or a new one."""
    if seed is not None:
        return int(seed)
    stored = store and store.manifest and store.manifest.get("seed")
    return stored if stored is not None else int(np.random.default_rng().integers(2**32))


def match(store, ensemble):
    """Plan the ensemble in an empty directory, or check that the one there is the same.

    Raises:
        ValueError: If class, arguments or data differ.
    """
    header = header_of(ensemble)
    if store.manifest is None:
        store.plan(header)
        return
    labels = _labels_of_finished(store.manifest)
    old = {"labels": labels, **store.manifest, **store.manifest["arguments"]}
    new = {**header, **header["arguments"]}
    parts = ["class", *header["arguments"], "data"]
    if old["labels"] is not None:
        parts.append("labels")
    differing = [part for part in parts if old.get(part) != new[part]]
    if differing:
        raise ValueError(
            f"{store.directory} holds an ensemble with other {', '.join(differing)}. Choose "
            f"another directory, or the same class, arguments and data."
        )


def finish(store, ensemble):
    """Mark the directory as that of a trained ensemble."""
    # The members' files among those of all trainings.
    names = {key: store.manifest["members"][key] for key, _ in with_keys(ensemble.members_)}
    store.finish({"state": state_of(ensemble), "members": names})


def header_of(ensemble):
    """The entries of the manifest that are known before the training."""
    return {
        "class": type(ensemble).__name__,
        **ensemble._fitted_parameters.description,
        "seed": ensemble.seed_,
        "data": ensemble._digest,
        "labels": _targets_of(ensemble).get("classes", {}).get("values"),
    }


def state_of(ensemble):
    """State of the ensemble besides its members, as values that JSON holds."""
    shape = list(ensemble.input_shape_)
    return {"input_shape": shape, **_targets_of(ensemble), **ensemble._get_state()}


def restore(ensemble, store, allow_pickle, data_known=False):
    """Turn an ensemble with its constructor's arguments into the trained one of a directory.

    Args:
        ensemble: The ensemble.
        store: The `Store` of the directory.
        allow_pickle: As of `kdl.ensembles.load`.
        data_known: Whether it has shapes and labels of its own, from `fit`. Defaults to False.

    Raises:
        FileNotFoundError: If the file of a member is missing.
        ValueError: If a file can't be read; the message names it.
    """
    members = [_read_member(store, key) for key in store.manifest["members"]]
    try:
        ensemble.members_ = members
        if not data_known:
            _set_targets(ensemble, store.manifest["state"])
        _set_state(ensemble, store.manifest, allow_pickle)
    except Exception as error:  # an odd manifest raises errors of any kind
        del ensemble.members_
        raise manifest_error(store.directory, error) from error


def with_keys(members):
    """Pairs of the key in the directory and the member."""
    return [(str(number), model) for number, model in enumerate(members)]


def _set_state(ensemble, manifest, allow_pickle):
    state = manifest["state"]
    description = {part: manifest[part] for part in ("arguments", "parameters")}
    ensemble._fitted_parameters = FittedParameters(ensemble.get_params(deep=False), description)
    ensemble.seed_, ensemble._digest = manifest["seed"], manifest.get("data")
    ensemble._set_state(state, allow_pickle)


def _set_targets(ensemble, state):
    ensemble.input_shape_ = tuple(map(int, state["input_shape"]))
    if ensemble._is_regression:
        ensemble.target_shape_ = tuple(map(int, state["target_shape"]))
    else:
        classes = state["classes"]
        ensemble.classes_ = np.array(classes["values"], np.dtype(classes["dtype"]))


def _targets_of(ensemble):
    """Shape or labels of the targets."""
    if ensemble._is_regression:
        return {"target_shape": list(ensemble.target_shape_)}
    classes = ensemble.classes_
    values = classes if classes.dtype.kind in "biufUO" else classes.astype(str)
    return {"classes": {"dtype": classes.dtype.str, "values": values.tolist()}}


def _labels_of_finished(manifest):
    """The labels in a manifest of a version that wrote those of finished ensembles alone."""
    classes = manifest.get("state", {}).get("classes")
    return classes.get("values") if isinstance(classes, dict) else None


def _read_member(store, key):
    name = store.manifest["members"][key]
    try:
        content = store.get(key)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} is missing in {store.directory}; train it anew.") from None
    if not store.is_as_written(key, content):
        raise ValueError(
            f"{name} in {store.directory} is damaged, or a file of something else: it does not "
            f"hold what was written there. Train it anew."
        )
    try:
        return read_model(content)
    except Exception as error:  # of zip files, HDF5 and Keras
        raise ValueError(f"Cannot read {name} in {store.directory}: {error}") from error
