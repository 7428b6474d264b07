"""Worker: a child process that carries out jobs, one after the other."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading

from kdl._process._child_folder import ChildFolder
from kdl._process._exit_messages import explain_death
from kdl._process._module_paths import current_folder, module_places
from kdl._process._start import kill_process, read_messages, start_process
from kdl._signals import exit_on_signals

_GRACE = 10.0  # seconds that a process has to end by itself


class WorkerError(RuntimeError):
    """Error that a job raised in a worker.

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
        request = {**module_places(), "folder": current_folder(), "job": job}
        with self._lock, exit_on_signals():
            reused = self.process is not None
            begin, last = self._try(request, see)
            if reused and last is None:  # it may have died before, of something else
                begin, last = self._try(request, see)
            if last is None:
                last = {"event": "died", "code": self.process.wait()}
            if last["event"] == "error":
                raise WorkerError(last["type"], last["message"])
            if last["event"] == "died":
                messages = read_messages(self._messages, begin)
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
        self.process = start_process(
            self._command, folder, self._variables, subprocess.PIPE, self._messages
        )

    def _stop(self):
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_GRACE)
            kill_process(self.process)
            self.process.stdout.close()
            self.process = None

    def _own_folder(self):
        with self._lock:
            if self._folder is None:
                self._folder = ChildFolder()
            return self._folder

    def _try(self, request, see):
        """The place where the messages on a job begin, and `_send` of a process that is alive."""
        begin = 0  # also what a new process wrote before the job: it may be why it died
        if self.process is None or self.process.poll() is not None:
            self._start()
        else:
            begin = os.path.getsize(self._messages)
        try:
            return begin, self._send(request, see)
        except BaseException:  # its further replies would be taken for those of the next job
            kill_process(self.process)
            raise

    def _send(self, request, see):
        """The last reply to a job; None if the process ended without any."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        reply = None
        for line in self.process.stdout:
            reply = json.loads(line)
            if reply["event"] in ("done", "error", "died"):
                return reply
            see(reply)
        code = self.process.wait()
        return reply and {"event": "died", "code": code}
