"""Class names and input scaling, carried inside the model's own file."""

import dataclasses
import json
import os
import shutil
import zipfile
from typing import Any

from kdl._files import draft_of
from kdl._typing import Path
from kdl.data.archives import opened, read_entry
from kdl.data.input_spec import InputSpec

_ENTRY = "kdl.json"
LABELS_FILE = "labels.txt"


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """Class names and preprocessing of a classifier, beside its weights.

    Attributes:
        labels: Class names in the order of the outputs, or None.
        input_spec: `kdl.data.InputSpec`, which turns an image into an input, or None.

    Raises:
        ValueError: If the labels are no list of texts, each of one line that is not blank.

    Example:
        >>> ModelInfo(["cat", "dog"]).labels
        ['cat', 'dog']
        >>> ModelInfo(["cat", 7])
        Traceback (most recent call last):
        ...
        ValueError: A label is a text of one line that is not blank; received 7 as label 1.
    """

    labels: list | None = None
    input_spec: InputSpec | None = None

    def __post_init__(self):
        if self.labels is None:
            return
        if isinstance(self.labels, str | bytes | dict) or not hasattr(self.labels, "__len__"):
            raise ValueError(f"labels must be a list of texts; received {self.labels!r}.")
        for index, label in enumerate(self.labels):
            if not _is_line(label):
                raise ValueError(
                    f"A label is a text of one line that is not blank; received {label!r} as label "
                    f"{index}."
                )

    def to_dict(self) -> dict[str, Any]:
        """The attributes as a dictionary that `json` can write."""
        return {
            "labels": None if self.labels is None else list(self.labels),
            "input_spec": None if self.input_spec is None else self.input_spec.to_dict(),
        }

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> "ModelInfo":
        """Makes the `ModelInfo` that `to_dict` wrote.

        Args:
            config: Dictionary with the keys `labels` and `input_spec`.
        """
        spec = config["input_spec"]
        return cls(config["labels"], InputSpec.from_dict(spec) if spec else None)


def set_model_info(model: Any, info: ModelInfo) -> None:
    """Makes a Keras model remember its class names and its input specification.

    `kdl.deploy.export_tflite` and `kdl.training.save_portable` write them into the file, and the
    models of `kdl.compression` and `kdl.deploy.rewrite_for` take them over. Models of
    `kdl.applications` keep them when Keras saves them, too; they learn them by themselves from a
    `kdl.data.ImageFolder` that they are fitted on, or with `weights="imagenet"`.

    Args:
        model: The model.
        info: `ModelInfo`.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> set_model_info(model, ModelInfo(["cat", "dog"]))
        >>> get_model_info(model).labels
        ['cat', 'dog']
    """
    model._kdl_info = info


def get_model_info(model: Any) -> ModelInfo:
    """The `ModelInfo` that a Keras model remembers; an empty one if there is none.

    Args:
        model: The model.
    """
    return getattr(model, "_kdl_info", ModelInfo())


def learn_model_info(model: Any, class_names: Any, spec: Any) -> None:
    """Makes a model remember what a data set knows, if it fits the model.

    Args:
        model: A Keras model with a graph.
        class_names: Names of the classes, remembered if there are as many outputs; or None.
        spec: `kdl.data.InputSpec`, remembered if it is of the input's shape; or None.
    """
    info = get_model_info(model)
    labels, known = info.labels, info.input_spec
    if isinstance(spec, InputSpec) and spec.shape == tuple(model.inputs[0].shape[1:]):
        known = spec
    if class_names and tuple(model.outputs[0].shape[1:]) == (len(class_names),):
        labels = list(class_names)
    set_model_info(model, ModelInfo(labels, known))


def write_model_info(path: Path, info: ModelInfo) -> None:
    """Adds `info` to a `.keras` or `.tflite` file.

    A `.keras` file is a ZIP archive; a `.tflite` file may have one at its end, which its readers
    skip. The class names stand alone in `labels.txt`, where TensorFlow Lite's tools look for them.

    Args:
        path: The file.
        info: `ModelInfo`.

    Raises:
        OSError: If the file cannot be written; it is left as it was.
    """
    if info.labels is None and info.input_spec is None:
        return
    content = info.to_dict()
    with draft_of(path) as draft:
        if os.path.exists(path):
            shutil.copyfile(path, draft)
        with zipfile.ZipFile(draft, "a") as archive:
            archive.writestr(_ENTRY, json.dumps(content))
            if content["labels"]:
                archive.writestr(LABELS_FILE, "\n".join(content["labels"]) + "\n")


def read_model_info(path: Path) -> ModelInfo:
    """The `ModelInfo` kept in a `.keras` or `.tflite` file; an empty one if there is none.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If what is kept there is damaged, or the file is not what its name says.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file.")
    _check_kind(path)
    with opened(path) as archive:
        if archive is None or _ENTRY not in archive.namelist():
            return ModelInfo()
        content = read_entry(archive, _ENTRY, path)
    try:
        return ModelInfo.from_dict(json.loads(content))
    # What is not of this form fails in any way.
    except Exception as error:
        raise ValueError(
            f"{os.fspath(path)} holds a damaged {_ENTRY} ({type(error).__name__}: {error}). Export "
            f"it again."
        ) from error


def _check_kind(path):
    """Raises ValueError if a file is not what its ending says: empty, cut or of another kind."""
    ending = os.path.splitext(path)[1]
    if not os.path.isfile(path) or ending not in (".keras", ".tflite"):
        return
    if ending == ".keras":
        is_one = zipfile.is_zipfile(path)
    else:
        with open(path, "rb") as file:
            is_one = file.read(8)[4:] == b"TFL3"
    if not is_one:
        raise ValueError(f"{os.fspath(path)} is damaged, or no {ending} file.")


def _is_line(label):
    """Tell if readers that take a line for a label, wherever they see its end, find this one."""
    if not isinstance(label, str) or not label.strip():
        return False
    # A folder's name that is not UTF-8 comes as a text that cannot be written.
    return label.splitlines() == [label] and label.encode(errors="replace").decode() == label
