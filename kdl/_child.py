"""Entry point of child processes; `kdl._process` runs this file as a script.

It finds the modules that its parent has, and nothing in the current folder; it ends when its parent
has ended; and it serves jobs. Python's own library is all that it needs.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import threading
from importlib.machinery import ModuleSpec

START_FILE = "start.json"
BECOME = "--become"


def main(folder, target, *arguments):
    """Runs `main` of a module, or a script.

    Args:
        folder: The folder of this process, which holds what it needs to start.
        target: Name of a module, or path of a `.py` file.
        *arguments: Strings for it.
    """
    with open(os.path.join(folder, START_FILE)) as file:
        use_modules(**json.load(file))
    if target.endswith(".py"):
        import runpy

        end_with_parent(folder)
        sys.argv[:] = [target, *arguments]
        runpy.run_path(target, run_name="__main__")
    else:
        importlib.import_module(target).main(folder, *arguments)


def become(parent, *command):
    """Turns this process into a command that is ended (SIGTERM) when its parent has ended.

    Args:
        parent: Number of the parent, as a string.
        *command: Its words.
    """
    import ctypes
    import signal

    set_signal_of_parent = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>; it outlives what follows
    ctypes.CDLL(None).prctl(set_signal_of_parent, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("The process that started this one has ended.")
    os.execvp(command[0], command)


def use_modules(path, modules):
    """Takes over the module path of the parent, and what it has loaded from elsewhere.

    Args:
        path: `sys.path`.
        modules: Dict: name → `[file, folders]` of what lies in no folder of it.
    """
    sys.path[:] = path
    finder = next((item for item in sys.meta_path if isinstance(item, _Finder)), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    finder.modules = modules


class _Finder:
    """Finds modules by their files."""

    def __init__(self):
        self.modules = {}

    def find_spec(self, name, path=None, target=None):
        """As of any finder of `sys.meta_path`."""
        if name not in self.modules:
            return None
        file, folders = self.modules[name]
        if file is not None:
            return importlib.util.spec_from_file_location(
                name, file, submodule_search_locations=folders
            )
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec


def end_with_parent(folder, handle=0):
    """Ends this process, and removes its folder, when the parent closes a pipe or has ended.

    Args:
        folder: The folder of this process.
        handle: File descriptor of the pipe, which is not read. Defaults to the standard input.
    """
    import select

    if hasattr(select, "poll"):
        threading.Thread(target=_end_with_parent, args=(folder, handle), daemon=True).start()


def _end_with_parent(folder, handle):
    import select

    poll = select.poll()
    poll.register(handle, 0)  # nothing but its end
    poll.poll()
    _remove(folder)
    os._exit(1)


def _remove(folder):
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def serve(folder, carry_out, fork=False):
    """Carries out the jobs that `kdl._process.Worker.ask` sends, until the parent has ended.

    Args:
        folder: The folder of this process.
        carry_out: Function of a job (a dict) and of `say`, which sends an event and what belongs to
            it: `say("epoch", epoch=3)`. What it raises is sent, too.
        fork: Whether each job is carried out in a fork, so that nothing that one does reaches the
            next. Defaults to False.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print would be taken for a reply

    def say(event, **details):
        replies.write(json.dumps({"event": event, **details}) + "\n")
        replies.flush()

    if not fork:  # threads would not survive in a fork
        end_with_parent(folder)
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            request = json.loads(line)
            if fork:
                _work_in_a_fork(folder, carry_out, request, say)
            else:
                _work(carry_out, request, say)
    _remove(folder)


def _work(carry_out, request, say):
    use_modules(request["path"], request["modules"])
    with contextlib.suppress(OSError):
        os.chdir(request["folder"])
    try:
        carry_out(request["job"], say)
    except Exception as error:
        import traceback

        traceback.print_exc()
        general = [kind for kind in (ImportError, OSError) if isinstance(error, kind)]
        kind = (general or [type(error)])[0].__name__
        say("error", type=kind, message=str(error))
    else:
        say("done")


def _work_in_a_fork(folder, carry_out, request, say):
    import tempfile

    own_folder = tempfile.mkdtemp(prefix="job-")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            lifeline = os.dup(0)
            with open(os.devnull) as nothing:
                os.dup2(nothing.fileno(), 0)
            end_with_parent(folder, lifeline)
            tempfile.tempdir = os.environ["TMPDIR"] = own_folder
            _work(carry_out, request, say)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    _remove(own_folder)
    if status:
        say("died", code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    if sys.argv[1] == BECOME:
        become(*sys.argv[2:])
    main(*sys.argv[1:])
