"""Child processes: what they may import, how they are started and served, and how they end.

No child has the current folder on its module path, where a folder of images could hold a
`numpy.py`. Each has a folder for its temporary files that is removed whatever happens: by this
process, by the child if this one was killed, or by the next start if both were.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from kdl._child import BECOME, START_FILE
from kdl._signals import exit_on_signals

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = "kdl-process-"
_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_CHILD = os.path.join(_PACKAGE, "_child.py")
_LONGEST = 600  # letters of a message
_GRACE = 10.0  # seconds that a process has to end by itself
_ERROR_LINE = re.compile(r"([\w.]*(Error|Exception|Interrupt|Exit)\b|error\b|Fatal\b)", re.I)
# What Python's `faulthandler` prints of the innermost call.
_FRAME = re.compile(
    r'Current thread [^\n]*most recent call first\):\n\s+File "([^"]+)", line \d+ in (\S+)'
)


def _current_folder():
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return os.sep


_START = _current_folder()


class WorkerError(RuntimeError):
    """What a job raised in a worker.

    Attributes:
        kind: Name of the exception's class; `"ImportError"` or `"OSError"` for those of its kind.
        message: Its message.
    """

    def __init__(self, kind, message):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class WorkerDied(RuntimeError):
    """A worker ended before its job; the message says how."""


class Worker:
    """A child process that carries out jobs, one after the other.

    It starts with the first job, and is replaced if it has died. Threads wait for each other.

    Args:
        module: Name of a module whose `main(folder, *arguments)` calls `kdl._child.serve`.
        arguments: Strings for it.
        variables: Environment variables to set.
        what: What messages call it. Defaults to `"The process"`.
    """

    def __init__(self, module, arguments=(), variables=None, what="The process"):
        self.users = 0
        self.owner = os.getpid()
        self.process = None
        self._command, self._variables, self._what = (module, *arguments), variables or {}, what
        self._lock = threading.RLock()
        self._folder = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()

    @contextlib.contextmanager
    def folder(self):
        """A new folder for the files of a job, which goes when the context ends."""
        path = tempfile.mkdtemp(prefix="files-", dir=self._own_folder().path)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def ask(self, job, see=None):
        """Sends a job, and waits until it is carried out.

        Args:
            job: Dict for JSON.
            see: Called with each event that it sends, a dict. By default none is expected.

        Raises:
            WorkerError: What the job raised.
            WorkerDied: If the process ended.
        """
        request = {**module_places(), "folder": _current_folder(), "job": job}
        with self._lock, exit_on_signals():
            kept = self.process is not None
            begin, last = self._try(request, see)
            if kept and last is None:  # it may have died before, of something else
                begin, last = self._try(request, see)
            if last is None:
                last = {"event": "died", "code": self.process.wait()}
            if last["event"] == "error":
                raise WorkerError(last["type"], last["message"])
            if last["event"] == "died":
                messages = _read(self._messages, begin)
                raise WorkerDied(explain_death(self._what, last["code"], messages))

    def end(self):
        """Ends the process, if there is one, and removes its folder."""
        with self._lock:
            self._stop()
            if self._folder is not None:
                self._folder.remove()
                self._folder = None

    def _start(self):
        self._stop()
        folder = self._own_folder()
        self._messages = os.path.join(folder.path, "messages")
        self.process = _start(
            self._command, folder, self._variables, subprocess.PIPE, self._messages
        )

    def _stop(self):
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
            _kill(self.process)
            self.process.stdout.close()
            self.process = None

    def _own_folder(self):
        with self._lock:
            if self._folder is None:
                self._folder = ChildFolder()
            return self._folder

    def _try(self, request, see):
        """Where the messages on a job begin, and `_send` of a process that is alive."""
        begin = 0  # what a new process tells before the job, too: it may be why it died
        if self.process is None or self.process.poll() is not None:
            self._start()
        else:
            begin = os.path.getsize(self._messages)
        try:
            return begin, self._send(request, see)
        except BaseException:  # its further answers would be taken for those of the next job
            _kill(self.process)
            raise

    def _send(self, request, see):
        """The last answer to a job; None if the process ended without any."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        answer = None
        for line in self.process.stdout:
            answer = json.loads(line)
            if answer["event"] in ("done", "error", "died"):
                return answer
            see(answer)
        code = self.process.wait()
        return answer and {"event": "died", "code": code}


class SharedWorker:
    """A worker that is kept while a context lasts; outside of it each job has one of its own.

    Args:
        make: Function that makes a `Worker`; its argument says whether it is kept.
    """

    def __init__(self, make):
        self.worker = None
        self._make = make
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def keep(self):
        """Within it all jobs have the same worker, which ends with the last context in use."""
        with self._lock:
            if self.worker is None or self.worker.owner != os.getpid():
                self.worker = self._make(True)
            worker = self.worker
            worker.users += 1
        try:
            yield worker
        finally:
            with self._lock:
                worker.users -= 1
                unused = not worker.users
                if unused and self.worker is worker:
                    self.worker = None
            if unused:
                worker.end()

    @contextlib.contextmanager
    def get(self):
        """The worker for a job: the one that is kept, or a new one that ends with the context."""
        kept = self.worker is not None and self.worker.owner == os.getpid()
        with self.keep() if kept else self._make(False) as worker:
            yield worker


class Finished:
    """How a child process ended.

    Attributes:
        code: Exit status, negative for a signal; None if it took too long and was ended.
        output: What it printed.
        messages: What it printed as errors.
    """

    def __init__(self, code, output, messages):
        self.code, self.output, self.messages = code, output, messages


def run_child(target, arguments=(), variables=None, timeout=None):
    """Runs a module or a script in a child process, to its end.

    Args:
        target: Name of a module with a function `main(folder, *arguments)`, or path of a script.
        arguments: Its arguments, passed as strings.
        variables: Environment variables to set.
        timeout: Seconds after which it is ended. Defaults to None: it may take any time.

    Returns:
        `Finished`.
    """
    with exit_on_signals(), contextlib.closing(ChildFolder()) as folder:
        names = [os.path.join(folder.path, name) for name in ("output", "messages")]
        command = (os.fspath(target), *map(str, arguments))
        with open(names[0], "w") as output:
            process = _start(command, folder, variables or {}, output, names[1])
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _kill(process)
            process.stdin.close()
        return Finished(code, *map(_read, names))


class ChildFolder:
    """A folder for child processes and their temporary files.

    A lock says that it is in use, which the system takes away when this process has ended; each new
    folder removes those without an owner.

    Attributes:
        path: The folder.
    """

    def __init__(self):
        _remove_abandoned()
        self._lock = None
        while self._lock is None:
            self.path = tempfile.mkdtemp(prefix=_PREFIX)
            self._lock = _lock(self.path)  # None if it was taken for abandoned just now
        self.temporary = os.path.join(self.path, "tmp")
        os.mkdir(self.temporary)

    def remove(self):
        """Removes the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock:
            os.close(self._lock)
            self._lock = 0

    close = remove


def child_variables(folder=None):
    """Environment variables for any Python process that is started: a safe path, its own folder.

    Args:
        folder: `ChildFolder` for its temporary files; by default they go where this process's go.
    """
    variables = {"PYTHONPATH": os.pathsep.join(child_path()), "PYTHONSAFEPATH": "1"}
    if folder is not None:
        variables |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder.temporary)
    return variables


def child_path():
    """`sys.path` for a child: without the current folder, and the folder of the script at the end.

    The folder in which `python script.py` found the script, or `python -m` the module, is there on
    purpose; yet a file `types.py` in it must not stand in for Python's. So is that of kdl.
    """
    return [*_folders_of_others(), *_own_folders()]


def module_places():
    """What a child needs to find the modules that this process has.

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
    kept = [p for p in places if os.path.isabs(p) and os.path.realpath(p) != _current_folder()]
    return [program, *words], {"PYTHONPATH": os.pathsep.join(kept)}


def _is_this_python(program):
    found = shutil.which(program)
    return found is not None and os.path.samefile(found, sys.executable)


def _has_no_script(words):
    """Whether Python's first words are options that give it a module or a text to run."""
    words = iter(words)
    for word in words:
        if re.match("-[A-VY-Za-z]*[cm]", word) or word == "-":
            return True
        if not word.startswith("-"):
            return False
        if word in ("-W", "-X"):
            next(words, None)
    return False


def ending_with_parent(command):
    """A command for another one that gets SIGTERM when this process has ended, on Linux.

    The thread that starts it must live as long.

    Args:
        command: List of words.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", _CHILD, BECOME, str(os.getpid()), *command]


def explain_death(what, code, messages):
    """A sentence on how a process ended.

    Args:
        what: What it is called, such as `"The export process"`.
        code: Its exit status, negative for a signal.
        messages: What it printed as errors.

    Example:
        >>> explain_death("The process", 1, "ValueError: no such class")
        'The process stopped with exit status 1: ValueError: no such class'
    """
    if code >= 0:
        return f"{what} stopped with exit status {code}: {last_error_line(messages)}"
    text = f"{what} was ended by {signal_name(-code)}"
    place = _place_of_death(messages)
    if place:
        text += f" in {place}"
    memory = -code == getattr(signal, "SIGKILL", 9) or "bad_alloc" in messages
    return f"{text}. It ran out of memory, perhaps." if memory else f"{text}."


def last_error_line(messages):
    """The line that tells the cause: the last that is an error, or the last one at all."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return (errors or lines or ["no error output"])[-1][:_LONGEST]


def signal_name(number):
    """Name of a signal, such as `"SIGSEGV"`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _start(command, folder, variables, output, messages):
    """The process of a command for `kdl._child`, with a pipe from this one that ends with it."""
    with open(os.path.join(folder.path, START_FILE), "w") as file:
        json.dump(module_places(), file)
    group = {"process_group": 0} if hasattr(os, "killpg") else {}
    with open(messages, "w") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", _CHILD, folder.path, *command],
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **variables, **child_variables(folder)},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            text=True,
            **group,
        )


def _kill(process):
    """Ends a process and all that it has started."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()


def _read(path, begin=0):
    with open(path, "rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


def _place_of_death(messages):
    """`function of file.py` that was running, if it was Python's."""
    frames = _FRAME.findall(messages)
    if not frames:
        return None
    file, function = frames[-1]
    return f"`{function}` of {os.path.basename(file)}"


def _folders_of_others():
    """Folders of the path, realpath by realpath, but for the current one and the main module's."""
    left_out = {*_current_folders(), _folder_of_main()}
    return [p for p in sys.path if os.path.isabs(p) and os.path.realpath(p) not in left_out]


def _current_folders():
    return {os.path.realpath(path) for path in (_current_folder(), _START)}


def _own_folders():
    """The folders of the main module and of kdl, where they are not among the others."""
    others = set(map(os.path.realpath, _folders_of_others()))
    folders = dict.fromkeys((_folder_of_main(), os.path.realpath(os.path.dirname(_PACKAGE))))
    return [folder for folder in folders if folder and folder not in others]


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


def _lock(folder):
    """A lock on a folder; 0 where there are none, and None if somebody else has it."""
    if fcntl is None:
        return 0
    try:
        handle = os.open(os.path.join(folder, "lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a disk that has no locks
        os.close(handle)
        return 0
    return handle


def _remove_abandoned():
    """Removes folders whose processes were killed."""
    if fcntl is None:
        return
    root = tempfile.gettempdir()
    with contextlib.suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_ours(entry):
                lock = os.path.exists(os.path.join(entry.path, "lock")) and _lock(entry.path)
                if lock:
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.close(lock)


def _is_ours(entry):
    folder = entry.is_dir(follow_symlinks=False)
    return folder and entry.stat(follow_symlinks=False).st_uid == os.getuid()
