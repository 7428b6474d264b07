import pytest
from PIL import Image

from kdl.deploy import DeviceReport, OperationVerdict, plot_device_reports
from kdl.deploy.devices import device_plot


def report(*verdicts):
    operations = [
        OperationVerdict(i, "CONV_2D", f"c{i}", [], [], [], 100 * (i + 1), verdict, "", "", "")
        for i, verdict in enumerate(verdicts)
    ]
    return DeviceReport("model.tflite", "gpu", "a GPU", operations)


REPORTS = {"$as^is": report("runs", "refused"), "rewritten": report("runs", "runs", "runs")}


@pytest.fixture
def figures(monkeypatch):
    kept = []
    make_figure = device_plot.make_figure

    def make(size):
        kept.append(make_figure(size))
        return kept[-1]

    monkeypatch.setattr(device_plot, "make_figure", make)
    return kept


def test_bars_are_the_counts_and_shares_of_the_reports(figures, tmp_path):
    plot_device_reports(REPORTS, tmp_path / "plot.png", {"$as^is": 0.9, "rewritten": 0.8}, "GPU")
    operations, shares, accuracies = figures[0].axes
    assert sum(bar.get_width() for bar in operations.patches) == 5
    assert [bar.get_width() for bar in shares.patches] == pytest.approx([1 / 3, 1])
    assert [bar.get_width() for bar in accuracies.patches] == [0.9, 0.8]
    with Image.open(tmp_path / "plot.png") as image:
        assert image.size[0] == 1200


def test_without_accuracies_there_is_no_panel_of_them(figures, tmp_path):
    plot_device_reports({"empty": report()}, tmp_path / "plot.png")
    assert len(figures[0].axes) == 2


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="at least one report"):
        plot_device_reports({}, tmp_path / "plot.png")
    with pytest.raises(ValueError, match="accuracies must have the names"):
        plot_device_reports(REPORTS, tmp_path / "plot.png", {"rewritten": 0.8})
