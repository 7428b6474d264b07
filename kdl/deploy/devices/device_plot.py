"""Plot of what a device runs of several files."""

from kdl._plots import make_figure, write_figure
from kdl._typing import Path
from kdl.deploy.devices._rule import VERDICTS
from kdl.deploy.devices.device_report import DeviceReport

_COLORS = dict(zip(VERDICTS, ("#55a868", "#ccb974", "#8c8c8c", "#c44e52"), strict=True))


def plot_device_reports(
    reports: dict[str, DeviceReport],
    path: Path,
    accuracies: dict[str, float] | None = None,
    title: str = "",
) -> None:
    """Draws the verdicts on the operations of several files, and the multiply-adds on the device.

    Args:
        reports: Dict: name → `DeviceReport`.
        path: File to write; its ending says how, and without one it is PNG.
        accuracies: Dict: name → accuracy of the file, drawn beside; None (default) for none.
        title: Title of the plot. Defaults to none.

    Raises:
        ValueError: If there are no reports, or one has no accuracy though others have.
        ImportError: If matplotlib is missing.
    """
    if not reports:
        raise ValueError("Expected at least one report to draw; received none.")
    if accuracies is not None and set(accuracies) != set(reports):
        raise ValueError(
            f"accuracies must have the names of the reports, {sorted(reports)}; received "
            f"{sorted(accuracies)}."
        )
    panels = {"share of multiply-adds on it": [each.macs_share for each in reports.values()]}
    if accuracies is not None:
        panels["accuracy of the file"] = [accuracies[name] for name in reports]
    figure = make_figure((4 + 3 * len(panels), 1.2 + 0.6 * len(reports)))
    figure.suptitle(title)
    operations, *others = figure.subplots(1, 1 + len(panels), sharey=True)
    _draw_verdicts(operations, reports)
    for axes, (label, values) in zip(others, panels.items(), strict=True):
        bars = axes.barh(range(len(reports)), values, color="#4c72b0")
        axes.bar_label(bars, [f"{value:.3f}" for value in values], padding=3)
        axes.set(xlim=(0, 1.25), xticks=[0, 0.5, 1], title=label)
    operations.set_yticks(range(len(reports)), list(reports), parse_math=False)
    operations.invert_yaxis()
    write_figure(figure, path)


def _draw_verdicts(axes, reports):
    """Bars of the numbers of operations, a color a verdict."""
    starts = [0] * len(reports)
    for verdict, color in _COLORS.items():
        counts = [report.counts[verdict] for report in reports.values()]
        if any(counts):
            axes.barh(range(len(reports)), counts, left=starts, color=color, label=verdict)
        starts = [start + count for start, count in zip(starts, counts, strict=True)]
    axes.set(xlim=(0, 1.1 * max(*starts, 1)), title="operations")
    if any(starts):
        axes.legend(fontsize="small")
