import ast
import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import numpy as np
import pytest

from kdl._process import (
    ChildFolder,
    SharedWorker,
    Worker,
    WorkerDied,
    WorkerError,
    _exit_messages,
    _worker,
    explain_death,
    last_error_line,
    module_places,
    run_child,
    safe_command,
)
from kdl.ensembles._processes import as_executor
from kdl.training import launch

# Names that Python, NumPy, TensorFlow or kdl import at one time or another.
TRAPS = [
    *("grp", "types", "struct", "socket", "random", "string", "typing", "sitecustomize"),
    *("usercustomize", "numpy", "keras", "kdl", "tensorflow", "absl", "h5py", "rich"),
]

SERVER = """
import os, signal, sys, tempfile, threading
from kdl._child import serve

def main(folder, *arguments):
    serve(folder, work, fork="--fork" in arguments)

def work(job, say):
    print("noise on the standard output")
    say("begin", number=len(job))
    if "error" in job:
        raise {"value": ValueError, "file": FileNotFoundError, "import": ModuleNotFoundError}[
            job["error"]
        ]("words")
    if "code" in job:
        sys.stderr.write("ValueError: the cause\\nnoise\\n")
        sys.stderr.flush()
        os._exit(job["code"])
    if "signal" in job:
        os.kill(os.getpid(), getattr(signal, job["signal"]))
    if "import" in job:
        files = [getattr(__import__(name), "__file__", "") for name in job["import"]]
        say("imported", files=files, path=sys.path, here=os.getcwd())
    if "wait" in job:
        import fcntl
        open(os.path.join(tempfile.gettempdir(), "left"), "w").close()
        file = open(job["wait"], "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("ready")
        file.flush()
        threading.Event().wait()
"""

# A program that works in a child process until it is ended.
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from kdl._files import draft_of
from kdl._process import Worker
with draft_of(sys.argv[2]) as draft, Worker("echo_server", sys.argv[4:]) as worker:
    open(draft, "w").close()
    with worker.folder():
        worker.ask({"wait": sys.argv[3]}, print)
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Name of a module that serves jobs."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "echo_server.py").write_text(SERVER)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return "echo_server"


@pytest.fixture
def traps(tmp_path, monkeypatch):
    """Works in a folder whose modules write down that they were imported; lists these."""
    folder, seen = tmp_path / "images", tmp_path / "seen"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text(f"open({str(seen)!r}, 'a').write('{name} ')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", ["", *sys.path, ".", str(folder)])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", str(folder)]))
    return lambda: seen.read_text().split() if seen.exists() else []


IMPORT = "import grp, struct, socket, string, numpy, kdl._process"


def ask_worker(server, *arguments):
    seen = []
    with Worker(server, arguments) as worker:
        worker.ask({"import": ["grp", "struct", "numpy", "kdl._process"]}, seen.append)
    return seen[-1]


def run_script(server):
    script = pathlib.Path(tempfile.mkdtemp()) / "script.py"
    script.write_text(IMPORT)
    done = run_child(script)
    assert done.code == 0, done.messages


def run_pool(server):
    with as_executor(1, "torch") as pool:
        assert pool.submit(np.sum, [1, 2]).result() == 3
        assert pool.submit(eval, "__import__('grp').__name__").result() == "grp"


CHILDREN = {
    "script": run_script,
    "worker": ask_worker,
    "fork of a worker": lambda server: ask_worker(server, "--fork"),
    "launched text": lambda server: launch([sys.executable, "-c", IMPORT], 2),
    "launched module": lambda server: launch([sys.executable, "-m", "kdl", "--help"], 1),
    "pool": run_pool,
}


@pytest.mark.parametrize("start", CHILDREN.values(), ids=CHILDREN)
def test_child_in_folder_with_modules_imports_none_of_them(start, traps, server, capfd):
    start(server)
    assert traps() == []


def test_kdl_command_in_folder_with_modules_imports_none_of_them(traps):
    """Of the names that Python itself looks for before it runs a module, nothing can be said."""
    for path in pathlib.Path.cwd().iterdir():
        if path.stem not in ("numpy", "tensorflow", "h5py", "absl", "rich", "grp"):
            path.unlink()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "kdl", "list"], env=environment, capture_output=True, check=True
    )
    assert b"mobilenet" in done.stdout
    assert traps() == []


def test_worker_after_chdir_works_in_current_folder(server, tmp_path, monkeypatch):
    with Worker(server) as worker:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            seen = []
            worker.ask({"import": []}, seen.append)
            assert seen[-1]["here"] == str(tmp_path / name)


def test_child_imports_modules_that_parent_has_loaded(tmp_path, monkeypatch, server):
    """As in a notebook: what it has imported itself, and nothing that lies beside."""
    package = tmp_path / "of_a_notebook"
    package.mkdir()
    (package / "__init__.py").write_text("from of_a_notebook import inner")
    (package / "inner.py").touch()
    (tmp_path / "namespace_of_a_notebook").mkdir()
    (tmp_path / "namespace_of_a_notebook" / "module.py").touch()
    (tmp_path / "not_imported_yet.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    names = ["of_a_notebook", "of_a_notebook.inner", "namespace_of_a_notebook.module"]
    for name in names:
        __import__(name)
    try:
        with Worker(server) as worker:
            seen = []
            worker.ask({"import": names}, seen.append)
            assert seen[-1]["files"][0] == str(package / "__init__.py")
            with pytest.raises(WorkerError, match="No module named 'not_imported_yet'"):
                worker.ask({"import": ["not_imported_yet"]}, seen.append)
    finally:
        for name in [name for name in sys.modules if "of_a_notebook" in name]:
            del sys.modules[name]


SCRIPT = """
import sys, json
import beside
from kdl._process import run_child, module_places
json.dump(module_places(), open("places.json", "w"))
print(run_child("child_of_the_script.py").messages)
"""


def test_folder_of_script_is_searched_last(tmp_path):
    """What lies beside a script is found, but does not stand in for Python's own modules."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    (home / "script.py").write_text(SCRIPT)
    for name in ("beside", "later", "grp", "numpy"):
        (home / f"{name}.py").write_text(f"name = {name!r}")
    ran = home / "ran.txt"  # by Python itself as it starts, in no process
    (home / "sitecustomize.py").write_text(f"open({str(ran)!r}, 'w')")
    (elsewhere / "child_of_the_script.py").write_text(
        "import grp, sys, beside, later, numpy\nassert grp.getgrall and numpy.array"
    )
    done = subprocess.run(
        [sys.executable, home / "script.py"], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.stdout == "\n", done.stdout + done.stderr
    assert not ran.exists()
    places = json.loads((elsewhere / "places.json").read_text())
    assert str(home) in places["path"][-2:]
    assert places["modules"]["beside"] == [str(home / "beside.py"), None]
    assert str(elsewhere) not in places["path"]


def test_module_places_without_foreign_modules_hold_none():
    places = module_places()
    assert "numpy" not in places["modules"]
    assert "os" not in places["modules"]
    assert all(os.path.isabs(path) for path in places["path"])


@pytest.mark.parametrize(
    ("words", "safe"),
    [
        (["-m", "kdl"], True),
        (["-mkdl"], True),
        (["-c", "pass"], True),
        (["-W", "error", "-Bc", "pass"], True),
        (["-Xdev", "-m", "kdl"], True),
        (["-"], True),
        (["script.py", "-c"], False),
        (["-W", "-c", "script.py"], False),
        (["-Werror::m", "-u", "script.py"], False),
        (["--version"], False),
        ([], False),
    ],
)
def test_safe_command_of_python_without_script_adds_safe_path(words, safe):
    command, _ = safe_command([sys.executable, *words])
    assert command == [sys.executable, *(["-P"] if safe else []), *words]


def test_safe_command_of_other_program_is_unchanged(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/somewhere", ".", str(tmp_path)]))
    command, variables = safe_command(["no_such_program", "-c", "x"])
    assert command == ["no_such_program", "-c", "x"]
    assert variables == {"PYTHONPATH": "/somewhere"}


@pytest.mark.parametrize("arguments", [(), ("--fork",)], ids=["itself", "fork"])
def test_worker_job_fails_raises_its_error(arguments, server):
    seen = []
    with Worker(server, arguments, what="The test") as worker:
        worker.ask({"a": 1, "b": 2}, seen.append)
        assert seen == [{"event": "begin", "number": 2}]
        for name, kind in (("value", "ValueError"), ("file", "OSError"), ("import", "ImportError")):
            with pytest.raises(WorkerError, match="words") as caught:
                worker.ask({"error": name}, seen.append)
            assert (caught.value.kind, caught.value.message) == (kind, "words")
        first = worker.process.pid
        with pytest.raises(WorkerDied, match=r"The test stopped with .* 3: ValueError: the cause$"):
            worker.ask({"code": 3}, seen.append)
        with pytest.raises(WorkerDied, match=r"The test was ended by SIGKILL.* out of memory"):
            worker.ask({"signal": "SIGKILL"}, seen.append)
        with pytest.raises(WorkerDied, match=r"was ended by SIGSEGV in `work` of echo_server\.py"):
            worker.ask({"signal": "SIGSEGV"}, seen.append)
        worker.ask({}, seen.append)
        assert (worker.process.pid == first) == bool(arguments)


@pytest.mark.parametrize("when", ["at once", "later"])
def test_worker_without_library_raises_its_name(when, tmp_path, monkeypatch):
    start = _worker.start_process

    def started_and_dead(*arguments):
        process = start(*arguments)
        process.wait()
        return process

    if when == "at once":
        monkeypatch.setattr(_worker, "start_process", started_and_dead)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "needs_something.py").write_text("import something_missing")
    missing = pytest.raises(WorkerDied, match="No module named 'something_missing'")
    with Worker("needs_something") as worker, missing:
        worker.ask({})


def test_shared_worker_in_threads_is_one_process(server):
    shared = SharedWorker(lambda kept: Worker(server))
    seen = []

    def ask():
        with shared.keep() as worker:
            worker.ask({}, seen.append)

    with shared.keep() as worker:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        process = worker.process
        assert process.poll() is None
        with shared.get() as same:
            assert same is worker
    assert len(seen) == 4
    assert process.returncode is not None
    with shared.get() as other:
        assert other is not worker
    assert shared.worker is None


def test_worker_killed_between_jobs_is_replaced(server):
    seen = []
    with Worker(server) as worker:
        worker.ask({}, seen.append)
        worker.process.kill()
        worker.ask({}, seen.append)
    assert len(seen) == 2


def test_killed_child_leaves_no_temporary_folder(tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, tempfile\nname = tempfile.mkstemp()[1]\nprint(name)\nos.kill(os.getpid(), 9)"
    )
    done = run_child(script)
    assert done.code == -9
    folder = pathlib.Path(done.output.strip()).parent
    assert folder.parent.name.startswith("kdl-process-")
    assert not folder.parent.exists()


def test_child_after_timeout_is_ended_with_its_own_children(tmp_path):
    lock, script = tmp_path / "lock", tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import fcntl, os, threading
        file = open({str(lock)!r}, "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fork()
        threading.Event().wait()
        """)
    )
    assert run_child(script, timeout=1).code is None
    wait_for_lock(lock)


@pytest.fixture
def program(server, tmp_path, signals_in_force):
    """Starts `PROGRAM`, and waits until its child is at work."""

    @contextlib.contextmanager
    def start(*arguments):
        (tmp_path / "tmp").mkdir()
        (tmp_path / "results").mkdir()
        paths = [tmp_path / "modules", tmp_path / "results" / "model", tmp_path / "lock"]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, paths), *arguments],
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        )
        with process:
            try:
                wait_until(lambda: paths[2].exists() and paths[2].read_text() == "ready")
                yield process
            finally:
                process.kill()

    return start


def wait_until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_lock(path):
    """Waits until nobody has it, a process that has ended least of all."""
    with open(path) as file:

        def lock():
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True

        wait_until(lock)


@pytest.mark.parametrize("arguments", [(), ("--fork",)], ids=["itself", "fork"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signal_to_parent_ends_child_and_leaves_no_files(name, arguments, program, tmp_path):
    with program(*arguments) as process:
        process.send_signal(getattr(signal, name))
        process.wait(60)
        wait_for_lock(tmp_path / "lock")
        assert os.listdir(tmp_path / "tmp") == []
        assert os.listdir(tmp_path / "results") == []


@pytest.mark.parametrize("arguments", [(), ("--fork",)], ids=["itself", "fork"])
def test_killed_parent_ends_child_which_removes_its_folder(arguments, program, tmp_path):
    with program(*arguments) as process:
        process.kill()
        process.wait()
        wait_for_lock(tmp_path / "lock")
        wait_until(lambda: os.listdir(tmp_path / "tmp") == [])


def test_folder_of_killed_processes_is_removed_at_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]; "
        "from kdl._process import ChildFolder; folder = ChildFolder(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=False)
    (tmp_path / "kdl-process-of-another-kind").mkdir()
    assert len(os.listdir(tmp_path)) == 2
    with contextlib.closing(ChildFolder()) as one, contextlib.closing(ChildFolder()) as other:
        names = {os.path.basename(folder.path) for folder in (one, other)}
        assert set(os.listdir(tmp_path)) == names | {"kdl-process-of-another-kind"}
    assert os.listdir(tmp_path) == ["kdl-process-of-another-kind"]


def test_processes_are_started_in_known_modules_only(root):
    """`launch` starts a user's command, and ensembles a pool."""
    starting = re.compile(r"\b(subprocess|multiprocessing|os\.(system|popen|spawn|exec|fork)\w*)\b")
    results = {
        str(path.relative_to(root / "kdl"))
        for path in (root / "kdl").rglob("*.py")
        if any(starting.search(line) for line in code_lines(path))
    }
    known = {
        "_child.py",
        "_process/_run_child.py",
        "_process/_start.py",
        "_process/_worker.py",
        "training/distribution/launch.py",
        "ensembles/_processes.py",
    }
    # It names a function in a message, and a test of the system.
    assert results - known <= {
        "ensembles/_member_training.py",
        "deploy/exporting/warm_converter.py",
    }
    assert known <= results


def code_lines(path):
    """The lines of a module without comments and docstrings."""
    return ast.unparse(_without_docstrings(ast.parse(path.read_text()))).splitlines()


def _without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [
                part
                for part in node.body
                if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ] or [ast.Pass()]
    return tree


@pytest.mark.parametrize(
    ("code", "messages", "expected"),
    [
        (-9, "", "It was ended by SIGKILL. It ran out of memory, perhaps."),
        (-4, "", "It was ended by SIGILL."),
        (-6, "terminate called after std::bad_alloc", "It was ended by SIGABRT. It ran out of mem"),
        (-64, "", "It was ended by SIGRTMAX."),
        (-63, "", "It was ended by signal 63."),
        (3, "noise\nlast words\n\n", "It stopped with exit status 3: last words"),
        (3, "", "It stopped with exit status 3: no error output"),
    ],
)
def test_explain_death_names_exit_status_or_signal(code, messages, expected):
    assert explain_death("It", code, messages).startswith(expected)


def test_last_error_line_prefers_error_over_last_line():
    text = "Traceback:\n  File x\ntensorflow.errors.InternalError: no kernel\nI0000 log\n"
    assert last_error_line(text) == "tensorflow.errors.InternalError: no kernel"
    assert last_error_line("error: no such image\nwarnings: 3") == "error: no such image"
    assert last_error_line("a\nb\n") == "b"
    assert len(last_error_line("x" * 5000)) == _exit_messages._MAX_LENGTH
