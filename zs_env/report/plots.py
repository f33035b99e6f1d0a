"""Pictures of how figures change while a policy is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  (the backend is chosen first)
from matplotlib.axes import Axes  # noqa: E402

Figures = Mapping[str, float]


def draw(
    path: Path,
    rows: Sequence[Figures],
    title: str,
    series: Mapping[str, str],
    *,
    marker: str = "",
    x: str = "update",
    x_label: str = "update",
    levels: Mapping[str, float] | None = None,
) -> Path | None:
    """Draw the figures of ``series`` that there are; None, and no picture, if there are none.

    Args:
        path: of the picture.
        rows: figures by name; a row need not have all.
        title: above the picture.
        series: which figures, with their labels.
        marker: at each point.
        x: the figure that the horizontal axis shows.
        x_label: what it is called there.
        levels: horizontal lines to compare with, by label.
    """
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    drawn = [_plot(axes, rows, x, key, label, marker) for key, label in series.items()]
    for label, height in (levels or {}).items():
        axes.axhline(height, label=label, color="gray", linestyle="--")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if sum(drawn) + len(levels or {}) > 1:
        axes.legend(frameon=False)
    if any(drawn):
        figure.savefig(path, dpi=110)
    plt.close(figure)
    return path if any(drawn) else None


def _plot(axes: Axes, rows: Sequence[Figures], x: str, key: str, label: str, marker: str) -> bool:
    points = [(row[x], row[key]) for row in rows if key in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, marker=marker or None)
    return bool(points)
