"""The folder of a training run: its arguments, state and results."""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import PurePath

from kdl._files import only_user_of, write_whole
from kdl._warn import warn

_STATE = "run.json"
_FILES = (_STATE, "model.keras", "last.keras", "history.csv", "curves.png", "confusion.png")
_FOLDERS = ("backup", "backup-head", "best")
# What a run keeps of the time when its training began, beside its arguments.
_KEPT = ("class_names", "files", "frozen_epochs")


class RunFolder:
    """A folder whose `run.json` tells of a run: its arguments, whether it is finished, its results.

    From when training begins it also has the names of the classes, a digest of the names of the
    files, where they are known, and the number of epochs that train the head alone.

    Args:
        path: The folder.
    """

    def __init__(self, path):
        self.path = os.path.abspath(path)

    def file(self, name):
        """Path of a file in it."""
        return os.path.join(self.path, name)

    def begin(self, arguments, overwrite):
        """Makes the folder, and begins the run in it or lets a shorter one go on.

        Args:
            arguments: Dict that defines the run.
            overwrite: Whether to remove what an earlier run left; nothing else is removed.

        Raises:
            ValueError: If `run.json` is damaged, or the folder holds none, but files of others
                that a run would replace.
            OSError: If the folder cannot be written.
            RuntimeError: If a run in it, which is to be removed, is trained now.
        """
        if overwrite:
            self._remove()
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise NotADirectoryError(f"{self.path} is a file; a run needs a folder.")
        os.makedirs(self.path, exist_ok=True)
        state = self.read()
        if state is None:
            self._check_free()
            self._write({"arguments": arguments, "finished": False})
        elif _has_grown(state["arguments"], arguments):
            with self.in_use():
                self._let_go_on(state, arguments)

    def _let_go_on(self, state, arguments):
        begun = state["results"]["epochs"] if state["finished"] else state.get("begun_at", 0)
        if state["finished"]:  # a kill may have left backups, with an optimizer of that run
            self._remove_folders()
        changes = {"arguments": arguments, "finished": False, "begun_at": begun}
        self._write({**_kept_of(state), **changes})

    @contextlib.contextmanager
    def in_use(self):
        """Within it no other run can be trained in the folder, nor removed from it.

        Raises:
            RuntimeError: If one is trained there now.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(only_user_of(self.path))
            except BlockingIOError as error:
                raise RuntimeError(
                    f"A run is being trained in {self.path} already. Wait until it ends, or choose "
                    f"another folder."
                ) from error
            yield

    def check_arguments(self, arguments):
        """Raises ValueError if the run in the folder was begun with others."""
        old = self.read()["arguments"]
        if old == arguments:
            return
        changed = [
            f"{key}: {old.get(key)!r} there, {arguments.get(key)!r} now"
            for key in sorted({*old, *arguments})
            if old.get(key) != arguments.get(key)
        ]
        raise ValueError(
            f"{self.path} holds a run with other arguments ({'; '.join(changed)}). Choose another "
            f"folder, the same arguments, or overwrite it."
        )

    def keep(self, facts, write, anew):
        """Compares what is now with what was when the run's training began; gives that.

        Args:
            facts: Dict of `class_names`, `frozen_epochs`, and `files` (`digest_of_files`) or None.
            write: Whether to write what the run does not have yet.
            anew: Whether no epoch is finished, so that the run begins now.

        Raises:
            ValueError: If the classes were others.
        """
        state = self.read()
        kept = facts if anew else {**facts, **_kept_of(state)}
        if kept["class_names"] != facts["class_names"]:
            raise ValueError(
                f"{self.path} holds a run of the classes {kept['class_names']}; the data has "
                f"{facts['class_names']} now, to which its labels do not belong. Put the classes "
                f"back, choose another folder, or overwrite it."
            )
        if not write or state["finished"]:
            return kept
        if None not in (facts["files"], kept["files"]) and kept["files"] != facts["files"]:
            warn(
                f"The files of the data are others than when the run in {self.path} began: images "
                f"that it was trained on may be among those of its validation, which then looks "
                f"too good. To be sure of it, train anew."
            )
        self._write({**state, **kept})
        return kept

    def finish(self, results):
        """Mark the run as finished, with its results."""
        state = self.read()
        changes = {"arguments": state["arguments"], "finished": True, "results": results}
        self._write({**_kept_of(state), **changes})

    def read(self):
        """The content of `run.json`, or None without one."""
        try:
            with open(self.file(_STATE), encoding="utf-8") as file:
                state = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ValueError(self._damaged(error)) from error
        if not _is_state(state):
            raise ValueError(self._damaged("it tells of no run"))
        return state

    def _check_free(self):
        """Raises ValueError if a run would replace or remove what is no run's."""
        names = [name for name in (*_FILES, *_FOLDERS) if os.path.lexists(self.file(name))]
        if names:
            raise ValueError(
                f"{self.path} holds {', '.join(names)} and no {_STATE}: a run would replace or "
                f"remove what it did not make. Choose another folder."
            )

    def _damaged(self, why):
        return (
            f"{self.file(_STATE)} is not what a run leaves, or is damaged: {why}. Choose another "
            f"folder, or overwrite it."
        )

    def _write(self, state):
        write_whole(self.file(_STATE), json.dumps(state, indent=2))

    def _remove(self):
        if not os.path.exists(self.file(_STATE)):
            return  # what is there is no run's
        with self.in_use():
            self._remove_folders()
            for name in reversed(_FILES):  # the state last, so that a kill leaves a run
                if os.path.exists(self.file(name)):
                    os.remove(self.file(name))

    def _remove_folders(self):
        for name in _FOLDERS:
            shutil.rmtree(self.file(name), ignore_errors=True)


def plain_arguments(arguments):
    """Arguments as a file gives them back.

    Raises:
        ValueError: If they are no dict of plain values.
    """
    if not isinstance(arguments, dict):
        raise ValueError(f"arguments must be a dict of plain values; received {arguments!r}.")
    try:
        return json.loads(json.dumps(arguments, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"arguments must be plain values, as JSON has them ({error}); received {arguments!r}."
        ) from error


def digest_of_files(*data_sets):
    """Digest of the names of the files of data sets, wherever their folder lies; None if unknown.

    Args:
        *data_sets: Such as `kdl.data.ImageFolder`, whose `paths` are `…/class/file`.
    """
    paths = [getattr(data_set, "paths", None) for data_set in data_sets]
    if any(part is None for part in paths):
        return None
    names = [sorted("/".join(PurePath(path).parts[-2:]) for path in part) for part in paths]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def _kept_of(state):
    return {name: state[name] for name in _KEPT if name in state}


def _is_state(state):
    if not isinstance(state, dict) or not isinstance(state.get("arguments"), dict):
        return False
    if not isinstance(state.get("class_names", []), list):
        return False
    if not isinstance(state.get("frozen_epochs", 0), int):
        return False
    results = state.get("results")
    return state.get("finished") is False or (
        state.get("finished") is True and isinstance(results, dict) and "epochs" in results
    )


def _has_grown(old, new):
    """True if more epochs are the only difference."""
    return (
        {**old, "epochs": 0} == {**new, "epochs": 0}
        and "epochs" in old
        and "epochs" in new
        and old["epochs"] < new["epochs"]
    )
