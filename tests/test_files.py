import ast
import concurrent.futures
import errno
import json
import multiprocessing
import os
import pathlib
import signal
import stat
import subprocess
import sys
import tempfile

import pytest

from kdl import _files
from kdl._files import check_writable, draft_of, write_whole

# Waits within a draft until it is killed.
STOPPED = """
import sys
from kdl._files import draft_of
with draft_of(sys.argv[1], ".keras") as draft:
    with draft_of(draft) as inner:
        for path in (draft, inner):
            open(path, "w").write("half")
        print("ready", flush=True)
        sys.stdin.read()
"""


def stopped_writer(path, number):
    """What is in the folder after a process that writes `path` was ended by a signal."""
    writer = subprocess.Popen(
        [sys.executable, "-c", STOPPED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout.readline() == b"ready\n"
        writer.send_signal(number)
        writer.wait(60)
    return sorted(os.listdir(os.path.dirname(path)))


@pytest.mark.parametrize("content", [b"\x00new", "new é"])
def test_content_is_written_and_nothing_else(content, tmp_path):
    path = tmp_path / "report"
    path.write_text("old, and longer than the new one")
    write_whole(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(tmp_path) == ["report"]


def test_name_of_a_file_that_is_no_utf8_is_written_and_stays_json(tmp_path):
    name = os.fsdecode(b"caf\xe9.tflite")
    content = json.dumps({"file": "\\" + name, "é": 1}, ensure_ascii=False)
    write_whole(tmp_path / "report", content)
    assert json.loads((tmp_path / "report").read_text("utf-8")) == {"file": "\\" + name, "é": 1}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("wrong"), SystemExit(3)])
def test_exception_leaves_the_old_file_and_no_draft(error, tmp_path):
    path = tmp_path / "report"
    path.write_text("old")
    with pytest.raises(type(error) if isinstance(error, BaseException) else error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report"]


def write_half(path, error):
    with draft_of(path) as draft:
        with open(draft, "w") as file:
            file.write("half")
        raise error


def test_full_disk_leaves_the_old_file_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "report"
    path.write_text("old")

    def fill_up(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_files.os, "fsync", fill_up)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_device_is_named():
    with pytest.raises(OSError, match="No space left on device"):
        write_whole("/dev/full", "new")


def test_missing_folder_is_an_error_of_the_target(tmp_path):
    path = tmp_path / "missing" / "report"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, "new")
    assert caught.value.filename == str(path)


def test_each_draft_has_a_name_of_its_own(tmp_path):
    with draft_of(tmp_path / "a") as one, draft_of(tmp_path / "a") as other:
        assert one != other
        for name in (one, other):
            open(name, "w").close()


def test_threads_that_write_one_path_leave_a_whole_file(tmp_path):
    contents = [bytes([65 + number]) * 200_000 for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for write in [pool.submit(write_whole, tmp_path / "a", c) for c in contents * 5]:
            write.result()
    assert (tmp_path / "a").read_bytes() in contents
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signal_removes_the_draft(name, tmp_path, signals_in_force):
    assert stopped_writer(str(tmp_path / "a"), getattr(signal, name)) == []


def test_drafts_of_a_killed_process_are_removed_by_the_next(tmp_path):
    names = stopped_writer(str(tmp_path / "a"), signal.SIGKILL)
    assert len(names) == 2
    assert all(name.startswith(".a.") for name in names)
    others = [".a.b", ".a.part", ".ab.12345678-1-12345678.part", f".a.{'0' * 8}-1-{'0' * 8}.part"]
    for name in others:
        (tmp_path / name).write_text("of somebody else")
    with draft_of(tmp_path / "a") as draft:
        write_whole(tmp_path / "a", "new")
        assert os.path.dirname(draft) == str(tmp_path)
        open(draft, "w").close()
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "a"])


def test_draft_of_a_running_process_is_left_alone(tmp_path):
    with draft_of(tmp_path / "a") as draft:
        open(draft, "w").close()
        context = multiprocessing.get_context("spawn")
        other = context.Process(target=write_whole, args=(str(tmp_path / "a"), "new"))
        other.start()
        other.join()
        assert other.exitcode == 0
        assert os.path.exists(draft)


def test_signal_that_the_program_handles_is_left_to_it(tmp_path):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with draft_of(tmp_path / "a") as draft:
            open(draft, "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM)(0, None) is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path):
    """The new one takes its place; nothing is written into the one that is being read."""
    path = tmp_path / "file"
    path.write_text("old")
    with open(path) as reader:
        write_whole(path, "new, and longer")
        assert reader.read() == "old"
    assert path.read_text() == "new, and longer"


def test_link_and_permissions_are_kept(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="needs devices as files")
def test_device_is_written_and_not_replaced(tmp_path):
    code = "from kdl._files import write_whole; write_whole('/dev/stdout', 'new'); print('end')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "newend\n"


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127])
def test_longest_name_can_be_written(name, tmp_path):
    write_whole(tmp_path / name, "new")
    assert os.listdir(tmp_path) == [name]


def test_places_that_cannot_be_written_are_told_before(tmp_path):
    check_writable(tmp_path / "a")
    check_writable(os.devnull)
    with pytest.raises(FileNotFoundError, match=r"Cannot write .*the folder .* does not exist"):
        check_writable(tmp_path / "missing" / "a")
    with pytest.raises(IsADirectoryError, match="it is a folder; give a file name"):
        check_writable(tmp_path)
    assert os.listdir(tmp_path) == []


def test_files_of_the_user_are_written_whole(root):
    """Whatever writes in place writes a draft, or a file of a process's own folder."""
    known = {
        "_child.py": 0,
        "_process/_start.py": 2,  # how a child starts, and its errors
        "_process/_run_child.py": 1,  # what it prints
        "training/distribution/launch.py": 1,  # logs in a folder of its own
        "deploy/exporting/_worker.py": 1,  # the draft of the export
        "deploy/exporting/_tfmot.py": 1,
        "deploy/devices/_accelerator_worker.py": 1,
        "deploy/exporting/conversion.py": 2,  # the model and its data, for the export process
        "compression/tfmot/_process.py": 1,
        "compression/tfmot/_worker.py": 1,
        "ensembles/_model_files.py": 1,
    }
    for path in (root / "kdl").rglob("*.py"):
        name = str(path.relative_to(root / "kdl"))
        if name.startswith("testing/") or name == "_files.py":
            continue
        writes = [call for call in ast.walk(ast.parse(path.read_text())) if in_place(call)]
        assert len(writes) <= known.get(name, 0), name


def in_place(node):
    """Whether a call writes a file that is not called a draft."""
    if not isinstance(node, ast.Call) or any(ast.unparse(arg) == "draft" for arg in node.args):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if name in ("write_text", "write_bytes", "savefig", "savez", "to_csv"):
        return True
    if ast.unparse(node.func) in ("np.save", "model.save", "plain.save"):
        return True
    mode = node.args[1] if len(node.args) > 1 else None
    mode = mode.value if isinstance(mode, ast.Constant) else ""
    return name in ("open", "ZipFile") and bool(set(str(mode)) & set("wax+"))


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a file system in memory")
def test_a_file_in_memory_is_written_whole_too():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = pathlib.Path(folder, "file")
        path.write_text("old")
        with draft_of(path) as draft:
            assert pathlib.Path(draft).parent == path.parent
            pathlib.Path(draft).write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
