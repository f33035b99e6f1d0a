"""Plots of figures over a growing one, such as updates or tokens."""

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
    figures: Sequence[Figures],
    title: str,
    series: Mapping[str, str],
    *,
    x: str,
    x_label: str,
    marker: str = "",
    levels: Mapping[str, float] | None = None,
) -> Path | None:
    """Plot the figures of ``series`` over ``x``.

    Args:
        path: file of the plot.
        figures: figures by name at each point; only ``x`` must be there at every point.
        title: title above the plot.
        series: labels of the figures to draw, by name.
        x: name of the figure on the horizontal axis.
        x_label: label of the horizontal axis.
        marker: marker of matplotlib at each point.
        levels: heights of horizontal lines to compare with, by label.

    Returns:
        ``path``, or None if there are no figures of ``series``; then no file is written.
    """
    picture, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    drawn = [_plot(axes, figures, x, key, label, marker) for key, label in series.items()]
    for label, height in (levels or {}).items():
        axes.axhline(height, label=label, color="gray", linestyle="--")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x_label)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if sum(drawn) + len(levels or {}) > 1:
        axes.legend(frameon=False)
    if any(drawn):
        picture.savefig(path, dpi=110)
    plt.close(picture)
    return path if any(drawn) else None


def _plot(
    axes: Axes, figures: Sequence[Figures], x: str, key: str, label: str, marker: str
) -> bool:
    points = [(each[x], each[key]) for each in figures if key in each]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, marker=marker or None)
    return bool(points)
