import os
import shlex
import subprocess
import sys

import pytest
from cli.command_line import QUICK, command, error_line, kdl_here

from kdl.cli._wording import in_words_of_the_command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model", "resnet"], "There is no model 'resnet'. Did you mean resnet50"),
        (["train", "--data", "missing"], "There is no folder or zip archive"),
        (["train", "--output", "/proc/run"], "/proc/run"),
        (["verify", "m.tflite", "missing.keras", "--data", "digits"], "no such model file"),
        (["predict", "image.png"], "Name a model first: kdl predict MODEL.tflite IMAGE…"),
        (["predict", "--model", "missing.tflite", "missing.png"], "missing.tflite"),
        (["predict", "missing.tflite", "missing.png"], "missing.tflite"),
        (["predict", "a.tflite", "b.png", "--model", "c.tflite"], "one model; received a.tflite"),
        (["predict", "a.tflite"], "Expected an image after a.tflite"),
        (["benchmark", "missing.tflite"], "no such .tflite file"),
        (["check", "missing.tflite"], "no such .tflite file"),
        (["check", "missing.tflite", "--target", "npu"], "target must be one of"),
        (["export", "missing.keras", "m.tflite"], "no such model file"),
        (["summary", "mobilenetv2"], "Did you mean mobilenet_v2_a0_5 or mobilenet_v2_a1_0"),
        (["summary", "nothing like it"], "'nothing like it'. kdl list shows them all"),
        (["summary", "int8.tflite"], "kdl check lists them"),
        (["summary", "int8.TFLITE"], "kdl check lists them"),
        (["verify", "m.tflite", "README.md", "--data", "digits"], "README.md is no .keras file"),
        (["export", "kdl", "m.tflite"], "kdl is no .keras file"),
        (["predict", "a.tflite", "b.png", "--json", "--csv"], "Expected --json or --csv"),
        (["train", "--data", ""], "--data is empty"),
        (["list", "transformer"], "No name matches transformer"),
    ],
)
def test_bad_input_is_one_line(arguments, message, root, monkeypatch):
    monkeypatch.chdir(root)
    assert message in error_line(kdl_here(*arguments))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("representative_data must have shape (samples, 4).", "--data must have shape"),
        ("data was read with InputSpec(…)", "--data was read with"),
        ("Check it, check without run=True.", "Check it, check without --run."),
        ("the same arguments, or overwrite it.", "the same arguments, or pass --overwrite."),
        ("left out 2 files: a.png. The attribute `skipped` lists them all.", "2 files: a.png."),
        ('pass quantization="int8"; received', "pass --quantization int8; received"),
        (
            "A file has one size: pass input_shape=, for instance input_shape=(224, 224, 3).",
            "A file has one size: pass --size, for instance --size 224.",
        ),
        ("has 2 inputs; one was expected. input_shapes has them all.", "one was expected."),
        ("(?, 3). Give them: TFLiteRunner(path, input_shape=…), without the batch.", "--size …."),
        ("[Errno 2] No such file or directory: 'x'", "No such file or directory: 'x'"),
        ("No module named 'jax'", "The backend jax is not installed: pip install jax"),
        ("Unable to import backend : nope", "There is no backend nope: KERAS_BACKEND must be"),
    ],
)
def test_messages_are_in_words_of_the_command(message, words):
    assert words in in_words_of_the_command(message)
    assert "=" not in in_words_of_the_command(message).replace("KERAS_BACKEND=", "")


def test_a_backend_that_is_not_there_is_named():
    done = subprocess.run(
        command("summary", "shufflenet_v2_x0_5"),
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "nope"},
        check=False,
    )
    assert "There is no backend nope: KERAS_BACKEND must be tensorflow" in error_line(done)


def test_without_the_packages_of_the_command():
    code = "import sys; sys.modules['typer'] = None; from kdl.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("The kdl command needs: pip install typer rich")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["export", "-h"]])
def test_help_in_a_pipe_has_no_frames(arguments):
    done = kdl_here(*arguments)
    assert done.returncode == 0
    assert "Usage: " in done.stdout
    assert not set("│╭─") & set(done.stdout)


def test_version():
    import kdl

    done = kdl_here("--version")
    assert (done.returncode, done.stdout) == (0, f"kdl {kdl.__version__}\n")


def test_verify_has_no_data_of_its_own(artifacts):
    done = kdl_here("verify", artifacts / "int8.tflite", artifacts / "model.keras")
    assert done.returncode == 2
    assert "Missing option '--data'" in done.stderr


def test_what_nobody_expected_is_one_line_too(monkeypatch):
    def fail():
        raise KeyError("odd")

    monkeypatch.setattr("kdl.cli.app", fail)
    assert "KeyError: 'odd'. kdl did not expect this: please report it" in error_line(kdl_here())
    monkeypatch.setenv("KDL_TRACEBACK", "1")
    with pytest.raises(KeyError):
        kdl_here()


@pytest.mark.long
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_are_no_failure(closed, root):
    line = " ".join([*map(shlex.quote, command("list", "squeezenet")), closed])
    environment = {**os.environ, **QUICK}
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, cwd=root, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("squeezenet1_1" in done.stdout) == (closed == "2>&-")


def test_letters_that_an_output_lacks_are_escaped():
    environment = {**os.environ, **QUICK, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("list", "squeezenet1_1"), capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert rb"224\xd7224\xd73" in done.stdout


def test_interrupted_imports_end_without_a_traceback(monkeypatch, capsys):
    from kdl import __main__

    def interrupt():
        raise KeyboardInterrupt

    ended = []
    monkeypatch.setattr(__main__, "_command", interrupt)
    monkeypatch.setattr(__main__, "_open_streams", lambda: None)
    monkeypatch.setattr(os, "_exit", ended.append)
    __main__.main()
    assert ended == [130]
    assert capsys.readouterr().err == ""
