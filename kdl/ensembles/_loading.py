"""Reading an ensemble that was saved."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from kdl.ensembles import _HOMES
from kdl.ensembles._persistence import restore
from kdl.ensembles._store import MANIFEST, Store, manifest_error, read_manifest

if TYPE_CHECKING:
    from kdl._typing import Path
    from kdl.ensembles._ensemble import Ensemble
    from kdl.ensembles._types import Build, NamedMembers


def load(
    path: Path, build: Build | NamedMembers | None = None, allow_pickle: bool = False
) -> Ensemble:
    """Reads an ensemble from the directory that `save`, or `fit` with `directory`, has written.

    It predicts as it did, on any backend. Its `build` is no part of the directory: to train it
    again, pass it here. So are `fit_arguments` and other parameters that JSON can't hold,
    such as callbacks; they have their defaults.

    Args:
        path: The directory.
        build: The first argument of the ensemble; None (default) if it will not be trained.
        allow_pickle: Whether to read final estimators of `StackingEnsemble` other than
            scikit-learn's logistic regression. They are pickled: reading one runs whatever code
            its author put there. Defaults to False.

    Returns:
        The ensemble.

    Raises:
        FileNotFoundError: If the directory holds no ensemble, or a file of a member is missing.
        ValueError: If the ensemble was not trained to its end, or a file can't be read or is
            no ensemble's; the message names it.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        >>> model.compile("sgd", "sparse_categorical_crossentropy")
        >>> x, y = np.eye(2), np.array(["left", "right"])
        >>> from kdl.ensembles import DeepEnsemble, load
        >>> ensemble = DeepEnsemble(model, 2).fit(x, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ensemble.save(folder)
        ...     loaded = load(folder)
        >>> (loaded.predict_proba(x) == ensemble.predict_proba(x)).all()
        np.True_
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise FileNotFoundError(f"{path} holds no ensemble: there is no {MANIFEST} in it.")
    store = Store(path)
    if not manifest["finished"]:
        raise ValueError(
            f"The ensemble in {path} was not trained to its end; it has {len(manifest['members'])} "
            f"members so far. Call fit with directory={os.fspath(path)!r} to train the others."
        )
    name = manifest["class"]
    if name not in _HOMES or name == "load":
        file = os.path.join(path, MANIFEST)
        raise ValueError(f"{file} holds a {name!r}, which this version of kdl does not know.")
    kind = getattr(importlib.import_module(f"kdl.ensembles.{_HOMES[name]}"), name)
    try:
        ensemble = kind(**{kind._build_parameter: build, **manifest["parameters"]})
    except TypeError as error:  # a parameter that it does not have
        raise manifest_error(path, error) from error
    restore(ensemble, store, allow_pickle)
    return ensemble
