import numpy as np
import pytest
from PIL import Image

from kdl.training import plot_curves
from kdl.training.comparisons import plot_curves as module

ROWS = [
    {"name": "a", "history": [0.1, 0.5, 0.9]},
    {"name": "$x^$", "history": [0.2, 0.4]},
    {"name": "without"},
]


def test_each_row_is_a_curve_from_epoch_1(tmp_path, monkeypatch):
    figures = []
    make_figure = module.make_figure

    def kept(size):
        figures.append(make_figure(size))
        return figures[-1]

    monkeypatch.setattr(module, "make_figure", kept)
    plot_curves(ROWS, tmp_path / "curves.png", ylabel="mean IoU", title="$y_")
    [axes] = figures[0].axes
    first, second = axes.lines
    assert first.get_xdata().tolist() == [1, 2, 3]
    np.testing.assert_allclose(second.get_ydata(), [0.2, 0.4])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "$x^$"]
    assert axes.get_ylabel() == "mean IoU"
    with Image.open(tmp_path / "curves.png") as image:
        assert np.asarray(image).std() > 0


def test_nothing_to_draw(tmp_path):
    with pytest.raises(ValueError, match="'loss'; received none"):
        plot_curves(ROWS, tmp_path / "curves.png", key="loss")
