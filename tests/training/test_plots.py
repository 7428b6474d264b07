import numpy as np
from PIL import Image

from kdl.training import plot_confusion_matrix, plot_history

ROWS = [{"epoch": e, "loss": 1 / e, "val_loss": 2 / e, "learning_rate": 0.1} for e in (1, 2, 3)]


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_history_draws_its_values(tmp_path):
    plot_history(ROWS, tmp_path / "one.png")
    plot_history([{**row, "val_loss": row["loss"]} for row in ROWS], tmp_path / "other.png")
    one, other = picture(tmp_path / "one.png"), picture(tmp_path / "other.png")
    assert one.std() > 0
    assert not np.array_equal(one, other)
    plot_history([{"epoch": 1, "loss": 1.0}], tmp_path / "no_validation.png")
    assert picture(tmp_path / "no_validation.png").std() > 0


def test_confusion_matrix_draws_its_counts(tmp_path):
    labels = np.array([0, 0, 1, 1])
    plot_confusion_matrix(labels, labels, ["a", "b"], tmp_path / "right.png")
    plot_confusion_matrix(labels, 1 - labels, ["a", "b"], tmp_path / "wrong.png")
    right, wrong = picture(tmp_path / "right.png"), picture(tmp_path / "wrong.png")
    assert right.shape == wrong.shape
    assert not np.array_equal(right, wrong)


def test_many_classes_fit(tmp_path):
    names = [f"class {i}" for i in range(60)]
    plot_confusion_matrix(np.arange(60), np.arange(60), names, tmp_path / "many.png")
    assert max(picture(tmp_path / "many.png").shape) < 2500
