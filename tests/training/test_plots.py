import numpy as np
from PIL import Image

from kdl.training import plot_confusion_matrix, plot_history, plots

ROWS = [{"epoch": e, "loss": 1 / e, "val_loss": 2 / e, "learning_rate": 0.1} for e in (1, 2, 3)]


def image(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_history_draws_its_values(tmp_path):
    plot_history(ROWS, tmp_path / "one.png")
    plot_history([{**row, "val_loss": row["loss"]} for row in ROWS], tmp_path / "other.png")
    one, other = image(tmp_path / "one.png"), image(tmp_path / "other.png")
    assert one.std() > 0
    assert not np.array_equal(one, other)
    plot_history([{"epoch": 1, "loss": 1.0}], tmp_path / "no_validation.png")
    assert image(tmp_path / "no_validation.png").std() > 0


def test_history_with_gaps_draws_what_is_there(tmp_path, monkeypatch):
    figures = []

    def kept_figure(size):
        figures.append(make_figure(size))
        return figures[-1]

    make_figure = plots.make_figure
    monkeypatch.setattr(plots, "make_figure", kept_figure)
    rows = [{"epoch": e, "loss": 1 / e} for e in (1, 2, 3, 4)]
    rows[1]["val_loss"], rows[3]["val_loss"] = 5.0, 6.0
    plot_history(rows, tmp_path / "gaps.png")
    [axes] = figures[0].axes
    training, validation = axes.lines
    assert training.get_xdata().tolist() == [1, 2, 3, 4]
    assert validation.get_xdata().tolist() == [2, 4]
    assert validation.get_ydata().tolist() == [5, 6]
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_confusion_matrix_draws_its_counts(tmp_path):
    labels = np.array([0, 0, 1, 1])
    plot_confusion_matrix(labels, labels, ["a", "b"], tmp_path / "right.png")
    plot_confusion_matrix(labels, 1 - labels, ["a", "b"], tmp_path / "wrong.png")
    right, wrong = image(tmp_path / "right.png"), image(tmp_path / "wrong.png")
    assert right.shape == wrong.shape
    assert not np.array_equal(right, wrong)


def test_many_classes_fit(tmp_path):
    names = [f"class {i}" for i in range(60)]
    plot_confusion_matrix(np.arange(60), np.arange(60), names, tmp_path / "many.png")
    assert max(image(tmp_path / "many.png").shape) < 2500


def test_names_are_no_formulas_and_need_no_font(tmp_path):
    names = [r"$\frac", "$x^$", "猫"]  # the first two are no mathematics that matplotlib reads
    plot_confusion_matrix([0, 1, 2], [0, 1, 2], names, tmp_path / "names.png")
    assert image(tmp_path / "names.png").std() > 0
