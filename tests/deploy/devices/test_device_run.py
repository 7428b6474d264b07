"""The real run, with a worker of our own in place of the accelerator."""

import importlib
import os
import textwrap

import numpy as np
import pytest
from tiny_tflite import FLOAT, TinyFile

from kdl.deploy.devices.device_run import run_on_gpu

device_run = importlib.import_module("kdl.deploy.devices.device_run")

# As the accelerator of ai-edge-litert 2.3 writes it, shortened.
REFUSAL = """
INFO: Create WebGPU environment
ERROR: Following operations are not supported by GPU delegate:
RESHAPE: Tensor dimensions must be less than 5. a
TRANSPOSE: Permutation for transpose is invalid.
1 operations will run on the GPU, and the remaining 2 operations will run on the CPU.
RuntimeError: ERROR: [./litert/cc/litert_compiled_model.h:1961]
"""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Makes the body of the worker's `main(path, outputs, accelerator)`."""

    def install(body):
        script = tmp_path / "worker.py"
        script.write_text(
            "import os, signal, sys, time\nimport numpy as np\n"
            "def main(path, outputs, accelerator):\n"
            + textwrap.indent(textwrap.dedent(body), "    ")
            + "\nmain(*sys.argv[1:])\n"
        )
        monkeypatch.setattr(device_run, "_WORKER", str(script))

    return install


def answer(gpu, cpu, plain=None):
    return f"""
    values = {{"gpu": {gpu}, "cpu": {cpu}, "plain": {plain or cpu}}}[accelerator]
    np.savez(outputs, **{{"0": np.array(values[0]), "1": np.array(values[1])}})
    """


@pytest.mark.parametrize(
    ("gpu", "cpu", "outcome", "error"),
    [
        ("[[1.0, 2.0], [4.0]]", "[[1.0, 2.0], [4.0]]", "ran", 0),
        ("[[1.0, 2.0], [4.04]]", "[[1.0, 2.0], [4.0]]", "ran", 0.04),
        ("[[1.0, 2.5], [4.0]]", "[[1.0, 2.0], [4.0]]", "wrong", 0.5),
        ("[[1, 3], [9]]", "[[1, 2], [9]]", "ran", 1),
        ("[[1, 4], [9]]", "[[1, 2], [9]]", "wrong", 2),
        ("[[np.nan, 2.0], [1.0]]", "[[np.nan, 2.0], [1.0]]", "ran", 0),
        ("[[np.nan, 2.0], [1.0]]", "[[1.0, 2.0], [1.0]]", "wrong", np.nan),
        ("[[0.0, 0.0], [0.0]]", "[[0.0, 0.0], [0.0]]", "ran", 0),
        # Boxes, and scores that are inverted.
        ("[[320.0, 10.0], [0.9]]", "[[320.0, 10.0], [0.1]]", "wrong", 0.8),
    ],
)
def test_outputs_are_compared(gpu, cpu, outcome, error, worker):
    worker(answer(gpu, cpu))
    run = run_on_gpu("m.tflite")
    assert run.outcome == outcome, str(run)
    assert run.max_error == pytest.approx(error, nan_ok=True)
    assert run.verdict == ("runs" if outcome == "ran" else "refused")


@pytest.mark.parametrize(
    ("gpu", "plain", "outcome"),
    [
        ("[[7, 90], [0]]", "[[6, 90], [0]]", "ran"),
        ("[[8, 90], [0]]", "[[6, 90], [0]]", "ran"),
        ("[[9, 90], [0]]", "[[6, 90], [0]]", "wrong"),
        ("[[4, 95], [0]]", "[[5, 90], [0]]", "wrong"),
        ("[[4, 60], [0]]", "[[4, 5], [0]]", "wrong"),
        ("[[7.0, 90.0], [0]]", "[[6.0, 90.0], [0]]", "wrong"),
    ],
)
def test_integers_may_differ_by_what_the_cpu_leaves_open(gpu, plain, outcome, worker):
    """Twice the difference between the CPU's kernels, and 20 %; floats have no such excuse."""
    cpu = "[[4.0, 90.0], [0]]" if "." in gpu else "[[4, 90], [0]]"
    worker(answer(gpu, cpu, plain))
    assert run_on_gpu("m.tflite").outcome == outcome


@pytest.mark.parametrize("accelerator", ["cpu", "plain"])
def test_the_worker_runs_a_file(accelerator, tmp_path):
    """Two inputs and two results, which the signature names in an order of its own."""
    tiny = TinyFile()
    inputs = [tiny.tensor((1, 4)), tiny.tensor((1, 2))]
    results = [tiny.apply("ABS", [x], ((1, n), FLOAT)) for x, n in zip(inputs, (4, 2), strict=True)]
    path = tiny.write(tmp_path / "abs.tflite", inputs, results)
    code, messages, found = device_run._run(path, tmp_path, accelerator)
    assert code == 0, messages
    assert [x.shape for x in found] == [(1, 4), (1, 2)]
    rng = np.random.default_rng(0)
    for x in found:
        np.testing.assert_array_equal(x, np.abs(rng.standard_normal(x.shape).astype("float32")))


def failing(body):
    """A GPU that does what `body` says, beside a CPU that answers."""
    inner = textwrap.indent(textwrap.dedent(body), "    ")
    return f"if accelerator == 'gpu':\n{inner}\nnp.savez(outputs, **{{'0': np.ones(3)}})"


def test_a_refusal_names_its_operations(worker):
    worker(failing(f"sys.stderr.write({REFUSAL!r}); sys.exit(1)"))
    run = run_on_gpu("m.tflite")
    assert run.outcome == "refused"
    assert run.refused == [
        ("RESHAPE", "Tensor dimensions must be less than 5. a"),
        ("TRANSPOSE", "Permutation for transpose is invalid."),
    ]
    assert run.cause == "it does not take RESHAPE, TRANSPOSE"
    assert "  TRANSPOSE: Permutation" in str(run)


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGABRT"])
def test_a_death_is_told_and_does_no_harm(name, worker):
    worker(failing(f"os.kill(os.getpid(), signal.{name})"))
    run = run_on_gpu("m.tflite")
    assert run.outcome == "died"
    assert run.cause == f"it ended its process by {name}"


def test_a_failure_without_a_reason_is_told(worker):
    worker(failing("raise RuntimeError('code 3')"))
    run = run_on_gpu("m.tflite")
    assert (run.outcome, run.cause) == ("refused", "RuntimeError: code 3")


def test_a_file_that_the_processor_cannot_run_either(worker):
    worker("raise RuntimeError('broken file')")
    run = run_on_gpu("m.tflite")
    assert run.outcome == "not comparable"
    assert "broken file" in run.cause


def test_a_run_without_end_is_ended(worker, monkeypatch):
    monkeypatch.setattr(device_run, "_MINUTES", 0.05)
    worker(failing("time.sleep(60)"))
    run = run_on_gpu("m.tflite")
    assert run.outcome == "refused"
    assert "did not end" in run.cause


def test_a_missing_driver_says_what_to_do(worker):
    worker(failing("sys.stderr.write('INTERNAL: No adapters found\\n'); sys.exit(1)"))
    with pytest.raises(OSError, match=r"no Vulkan driver .* VK_ICD_FILENAMES"):
        run_on_gpu("m.tflite")


def test_a_missing_runtime_says_what_to_install(worker):
    worker(failing("import nothing_ai_edge_litert"))
    assert run_on_gpu("m.tflite").outcome == "refused"
    worker("raise ModuleNotFoundError(\"No module named 'ai_edge_litert'\")")
    with pytest.raises(ImportError, match=r"pip install ai-edge-litert"):
        run_on_gpu("m.tflite")


def test_the_worker_runs_a_file_on_the_processor(root, tmp_path):
    """The true worker, on the accelerator that every machine has."""
    path = root / "saved_models" / "quickstart" / "float32.tflite"
    code, messages, outputs = device_run._run(path, tmp_path, "cpu")
    assert code == 0, messages
    [scores] = outputs
    assert scores.shape == (1, 10)
    np.testing.assert_allclose(scores.sum(), 1, atol=1e-5)
    again = device_run._run(path, tmp_path, "cpu")[2][0]
    np.testing.assert_array_equal(scores, again)
    assert os.path.exists(device_run._WORKER)
