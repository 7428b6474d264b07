"""Export test: a model gives the same outputs on a device."""

import itertools
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kdl.data._input_form import form_of_model, leaves, map_form
from kdl.testing import _checks

_SAMPLES = 8


def run_export_test(
    model: keras.Model,
    data: Any = None,
    quantizations: Sequence[str] = ("float32", "int8"),
) -> dict:
    """Export a model to TFLite, and check that the files give the outputs of Keras.

    Each file is written to a temporary folder and verified by ``kdl.deploy.export_tflite``, which
    runs it in the LiteRT interpreter and compares the outputs with those of Keras.

    Args:
        model: A built model.
        data: Arrays that the model takes, used to calibrate and to compare. By default eight
            random samples for each input: normal floats, or integers that are 0 or 1.
        quantizations: Kinds of file to write, as in ``kdl.deploy.export_tflite``.

    Returns:
        A dict from each quantization to its ``kdl.deploy.Verification``.

    Raises:
        AssertionError: A conversion failed, or a file does not give the outputs of Keras.
        ValueError: `quantizations` is empty; or `data` is needed, since the model has an open
            input size.
        ImportError: An exporter is not installed:
            ``pip install tensorflow ai-edge-litert flatbuffers``.

    Example:
        >>> import keras
        >>> from kdl.testing import run_export_test
        >>> inputs = keras.Input((4,))
        >>> model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
        >>> run_export_test(model, quantizations=["float32"])["float32"].passed
        True
    """
    if not quantizations:
        raise ValueError("Expected one or more quantizations, got none: nothing would be tested.")
    from kdl import deploy

    if data is None:
        data = _random_data(model)
    verifications = {}
    with _checks.preserved_state(), tempfile.TemporaryDirectory() as folder:
        for quantization in quantizations:
            path = Path(folder) / f"{quantization}.tflite"
            verifications[quantization] = _export(deploy, model, path, quantization, data)
    return verifications


def _random_data(model):
    form = form_of_model(model)
    shapes = [slot.shape for slot in leaves(form)]
    if any(None in shape for shape in shapes):
        raise ValueError(f"Expected data, since the input shapes {shapes} have dynamic dimensions.")
    seeds = itertools.count()  # inputs that are alike would hide that they are swapped

    def draw(slot):
        return _checks.random_array((_SAMPLES, *slot.shape), slot.dtype, next(seeds))

    return map_form(draw, form)


def _export(deploy, model, path, quantization, data):
    what = f"{model.name}, export as {quantization}"
    try:
        with warnings.catch_warnings():
            # A test is no proof for a user: a few inputs will do.
            warnings.filterwarnings("ignore", "The proof is weak")
            verification = deploy.export_tflite(
                model, path, quantization=quantization, representative_data=data
            )
    except deploy.ExportError as error:
        raise AssertionError(f"{what}: {error}") from error
    if not path.is_file() or not path.stat().st_size:
        raise AssertionError(f"{what}: no file was written.")
    if not verification.passed:
        raise AssertionError(
            f"{what}: the file differs from Keras, with a signal-to-noise ratio of "
            f"{verification.sqnr} dB and a cosine of {verification.cosine}."
        )
    return verification
