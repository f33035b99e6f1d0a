"""Picture of the fidelity of simulators: shares with intervals, and kinds of noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zs_env.errors import MissingDependencyError

SHARES = {
    "form": "form of the real engine",
    "useful_final": "final hop: states the fact",
    "useful_earlier": "earlier hops: states the fact",
    "leak": "noisy leak",
    "useful_earlier_golden": "golden answer, earlier hops",
    "repeated": "repeated 4-grams",
    "seeds_distance": "distance of two seeds",
    "classifier": "classifier (0.5: chance)",
}
"""Labels of the figures that are drawn as points, by name."""

KIND = "kind_"


def draw_fidelity(path: Path, columns: Sequence[Mapping[str, Any]]) -> Path:
    """Draw shares of each column, with their intervals, beside the kinds of its noisy documents.

    Args:
        path: file of the picture.
        columns: columns of a report as objects of JSON: ``name``, and ``figures``, each with
            ``value`` and ``interval``, by name.

    Returns:
        ``path``.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    plt = require_matplotlib()
    height = 1.6 + 0.42 * len(SHARES) + 0.12 * len(columns)
    picture, (left, right) = plt.subplots(1, 2, figsize=(12, height), layout="constrained")
    _draw_shares(left, [column for column in columns if _has_shares(column)])
    _draw_kinds(right, [column for column in columns if _kinds(column)])
    picture.savefig(path, dpi=110)
    plt.close(picture)
    return path


def require_matplotlib() -> Any:
    """Return the module that draws.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingDependencyError.for_extra(
            "The picture of fidelity", "matplotlib", "fidelity"
        ) from error
    return pyplot


def _has_shares(column: Mapping[str, Any]) -> bool:
    return any(column["figures"].get(name) for name in SHARES)


def _kinds(column: Mapping[str, Any]) -> dict[str, float]:
    return {
        name.removeprefix(KIND).replace("_", " "): figure["value"]
        for name, figure in column["figures"].items()
        if name.startswith(KIND) and figure
    }


def _draw_shares(axes: Any, columns: Sequence[Mapping[str, Any]]) -> None:
    for number, column in enumerate(columns):
        shift = 0.6 * ((number + 0.5) / len(columns) - 0.5)
        points = [
            (place + shift, column["figures"][name])
            for place, name in enumerate(SHARES)
            if column["figures"].get(name)
        ]
        values = [figure["value"] for _, figure in points]
        ends = [figure["interval"] or [figure["value"]] * 2 for _, figure in points]
        errors = [
            [max(value - low, 0.0) for value, (low, _) in zip(values, ends, strict=True)],
            [max(high - value, 0.0) for value, (_, high) in zip(values, ends, strict=True)],
        ]
        places = [place for place, _ in points]
        axes.errorbar(values, places, xerr=errors, fmt="o", markersize=4, label=column["name"])
    axes.set_yticks(range(len(SHARES)), list(SHARES.values()))
    axes.invert_yaxis()
    axes.set_xlim(-0.02, 1.02)
    axes.axvline(0.5, color="gray", linewidth=0.6, linestyle=":")
    axes.grid(alpha=0.3, axis="x")
    axes.set_title("Shares, with 95 % intervals", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if columns:
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06))


def _draw_kinds(axes: Any, columns: Sequence[Mapping[str, Any]]) -> None:
    axes.set_title("Documents of noisy searches by kind", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if not columns:
        axes.text(0.5, 0.5, "known in the embedded world alone", ha="center", va="center")
        axes.set_axis_off()
        return
    names = [column["name"] for column in columns]
    starts = [0.0] * len(columns)
    for kind in _kinds(columns[0]):
        widths = [_kinds(column).get(kind, 0.0) for column in columns]
        axes.barh(names, widths, left=starts, label=kind)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", labelsize=8)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.06))
