"""Module search path of child processes.

No child has the current folder on its path, where a folder of images could hold a `numpy.py`.
"""

import os
import pathlib
import re
import shutil
import sys

_PARENT_OF_KDL = str(pathlib.Path(__file__).resolve().parents[2])


def current_folder():
    """The current folder; the root if it was removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return os.sep


_START = current_folder()


def child_variables(folder=None):
    """Environment variables of a Python process: a safe path, its own temporary folder.

    The folder of the main module is not there: Python would run a `sitecustomize.py` in it, which
    this process did not. `kdl._child` has it from `module_places`.

    Args:
        folder: `ChildFolder` for its temporary files; by default they go where this process's go.
    """
    path = [*_folders_of_others(), *_own_folders([_PARENT_OF_KDL])]
    variables = {"PYTHONPATH": os.pathsep.join(path), "PYTHONSAFEPATH": "1"}
    if folder is not None:
        variables |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder.temporary)
    return variables


def child_path():
    """`sys.path` for a child: without the current folder, and the folder of the script at the end.

    The folder in which `python script.py` found the script, or `python -m` the module, is there on
    purpose; yet a file `types.py` in it must not stand in for Python's. So is that of kdl.
    """
    return [*_folders_of_others(), *_own_folders([_folder_of_main(), _PARENT_OF_KDL])]


def module_places():
    """Module search path, and modules of this process that lie outside of it.

    Returns:
        Dict with `path`, its `sys.path`, and `modules`: name → `[file, folders]` of modules that
        this process has loaded from elsewhere, such as from the folder of a notebook.
    """
    certain = set(map(os.path.realpath, _folders_of_others()))
    modules = {}
    for name, module in list(sys.modules.items()):
        place = None if name in sys.stdlib_module_names else _place(name, module)
        if place and place[0] not in certain:
            modules[name] = place[1:]
    return {"path": child_path(), "modules": modules}


def safe_command(command):
    """A command and its environment, so that Python leaves the current folder out of its path.

    Only `python -m` and `python -c` put it there; what a script finds beside it is left to it.

    Args:
        command: List of words.

    Returns:
        `(command, variables)`.

    Example:
        >>> command, variables = safe_command([sys.executable, "-m", "kdl", "train"])
        >>> command[1:]
        ['-P', '-m', 'kdl', 'train']
        >>> command, variables = safe_command([sys.executable, "train.py", "-m", "small"])
        >>> command[1:]
        ['train.py', '-m', 'small']
    """
    program, *words = map(os.fspath, command)
    if _is_this_python(program) and _has_no_script(words):
        return [program, "-P", *words], {"PYTHONPATH": os.pathsep.join(child_path())}
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    safe = [p for p in places if os.path.isabs(p) and os.path.realpath(p) != current_folder()]
    return [program, *words], {"PYTHONPATH": os.pathsep.join(safe)}


def _is_this_python(program):
    path = shutil.which(program)
    return path is not None and os.path.samefile(path, sys.executable)


def _has_no_script(words):
    """True if Python gets a module or a text to run, and no script."""
    words = iter(words)
    for word in words:
        if re.match("-[A-VY-Za-z]*[cm]", word) or word == "-":
            return True
        if not word.startswith("-"):
            return False
        if word in ("-W", "-X"):
            next(words, None)
    return False


def _folders_of_others():
    """Folders of the path, realpath by realpath, but for the current one and the main module's."""
    left_out = {*_current_folders(), _folder_of_main()}
    return [p for p in sys.path if os.path.isabs(p) and os.path.realpath(p) not in left_out]


def _current_folders():
    return {os.path.realpath(path) for path in (current_folder(), _START)}


def _own_folders(folders):
    """Folders of this process's own, where they are not among the others."""
    others = set(map(os.path.realpath, _folders_of_others()))
    return [folder for folder in dict.fromkeys(folders) if folder and folder not in others]


def _folder_of_main():
    """The folder that Python has put on the path for a script, or for a module that lies there."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if file is None or not os.path.isfile(file):
        return None
    spec = getattr(main, "__spec__", None)
    if spec is None:
        return os.path.dirname(os.path.realpath(file))
    folder = os.path.realpath(pathlib.Path(os.path.abspath(file)).parents[spec.name.count(".")])
    return folder if folder in _current_folders() else None


def _place(name, module):
    """`(folder of the search, file, folders of a package)` of a module on the first level."""
    spec = getattr(module, "__spec__", None)
    if "." in name or name in ("__main__", "__mp_main__") or spec is None:
        return None
    folders = spec.submodule_search_locations
    folders = None if folders is None else [os.path.abspath(folder) for folder in folders]
    file = spec.origin if spec.has_location else None
    if file is not None and os.path.isfile(file):
        file = os.path.abspath(file)
        folder = os.path.dirname(file)
        folder = os.path.dirname(folder) if folders is not None else folder
    elif folders:  # a package without `__init__.py`
        file, folder = None, os.path.dirname(folders[0])
    else:
        return None
    return os.path.realpath(folder), file, folders
