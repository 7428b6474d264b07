import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from kdl.training import launch
from kdl.training.distribution import synchronized_step

SAY = "import os, pathlib; pathlib.Path('{}', os.environ['RANK']).write_text(str(dict(os.environ)))"


def program(text):
    return [sys.executable, "-c", text]


def test_launched_processes_have_rank_and_world_size(tmp_path):
    launch(program(SAY.format(tmp_path)), 3)
    found = [eval((tmp_path / str(n)).read_text()) for n in range(3)]
    for number, environment in enumerate(found):
        assert environment["RANK"] == environment["LOCAL_RANK"] == str(number)
        assert environment["WORLD_SIZE"] == "3"
        assert environment["MASTER_PORT"] == found[0]["MASTER_PORT"]


def test_failed_process_ends_all_with_its_error_line():
    text = (
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1': sys.exit('error: the data is gone')\n"
        "time.sleep(60)"
    )
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"Process 1 .* exit status 1: the data is gone"):
        launch(program(text), 2)
    assert time.monotonic() - start < 30


def test_failures_of_two_processes_report_the_cause():
    text = (
        "import os, sys\n"
        "if os.environ['RANK'] == '1': sys.exit('error: no such image')\n"
        "sys.exit('error: Another process of this training has ended, or is out of reach.')"
    )
    with pytest.raises(RuntimeError, match=r"Process 1 .* exit status 1: no such image"):
        launch(program(text), 2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_signal_to_launcher_ends_its_processes(number, code, tmp_path):
    """A cluster's time limit sends SIGTERM: nobody may go on writing."""
    say = f"import os, pathlib; pathlib.Path('{tmp_path}', os.environ['RANK']).write_text('')"
    text = f"{say}; import time; time.sleep(100)"
    launcher = subprocess.Popen(
        program(f"from kdl.training import launch; launch({program(text)}, 2)"),
        stdout=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    with launcher:
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        start = time.monotonic()
        launcher.send_signal(number)
        launcher.stdout.read()  # until the first of its processes has closed it, too
    assert launcher.returncode == code
    assert time.monotonic() - start < 60


def test_warnings_of_the_first_process_are_shown(capsys):
    launch(program("import os, sys; sys.stderr.write('left out ' + os.environ['RANK'])"), 2)
    assert capsys.readouterr().err == "left out 0"


@pytest.mark.long
def test_process_that_ignores_sigterm_is_killed():
    text = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "time.sleep(0.5)\n"
        "if os.environ['RANK'] == '0': os.kill(os.getpid(), signal.SIGABRT)\n"
        "time.sleep(60)"
    )
    start = time.monotonic()
    ended = r"Process 0 .* was ended by SIGABRT; the others were ended, too\. Start it again\.$"
    with pytest.raises(RuntimeError, match=ended):
        launch(program(text), 2, advice="Start it again.")
    assert time.monotonic() - start < 30


def test_gradients_are_summed_in_their_own_precision(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(synchronized_step, "torch_reduced", lambda x: x)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    gradients = [torch.full((2,), 1 / 3, dtype=torch.float64), torch.ones(1, dtype=torch.float16)]
    variables = [keras.Variable(np.zeros(n)) for n in (2, 1)]
    sums = synchronized_step._summed_gradients(gradients, variables)
    assert [x.dtype for x in sums] == [torch.float64, torch.float16]
    assert float(sums[0][0]) == 1 / 3
