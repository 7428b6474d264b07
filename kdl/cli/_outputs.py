"""Files that a command writes, looked at before long work is done."""

import os
from pathlib import Path

from kdl._files import check_writable

_MODELS = (".tflite", ".keras", ".h5")
_OTHERS = (".keras", ".h5", ".zip")  # what a .tflite file is not called


def check_output(path, inputs, model=False):
    """Raises an error if a file cannot be written, or would take the place of what is read.

    Args:
        path: The file to write.
        inputs: Paths of the files that the command reads.
        model: Whether it is a model, and not a report on models. Defaults to False.

    Raises:
        ValueError: If it is one of `inputs`, or a report would be called like a model, or a
            .tflite file like another model or an archive.
        OSError: If it cannot be written.
    """
    check_writable(path)
    for file in inputs:
        if os.path.exists(path) and os.path.exists(file) and os.path.samefile(path, file):
            raise ValueError(f"{path} is read by this command: give what it writes another name.")
    if model and path.suffix.lower() in _OTHERS:
        raise ValueError(f"{path} would be taken for another kind of file: call it .tflite.")
    if not model and path.suffix.lower() in _MODELS:
        raise ValueError(f"A report called {path} would be taken for a model: give another ending.")


def check_output_folder(folder, images):
    """Raises ValueError if a command would write among the images that it reads.

    Args:
        folder: The folder to write.
        images: Path of what is read; a file can be no folder's.
    """
    if not os.path.isdir(images):
        return
    read, written = Path(images).resolve(), Path(folder).resolve()
    if written == read or read in written.parents:
        raise ValueError(
            f"The folder {folder} lies in {images}, where what is written would be taken for "
            f"images the next time: pass --output with a folder elsewhere."
        )
