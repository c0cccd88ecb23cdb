"""Percent of the limit over size as a picture, where matplotlib is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rueda._bench.plan import LIMIT
from rueda._bench.rows import Row
from rueda._bench.text_table import size_text


class NoChart(Exception):
    """No picture can be drawn; the text says why and what to do."""


def curves(rows: Sequence[Row]) -> dict[str, list[tuple[int, float]]]:
    """Return (bytes, percent of the limit) by contender, where there are at least two sizes."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        share = row.percent_of_limit
        if row.case.kind == "size" and row.variant.level != LIMIT and share is not None:
            label = row.variant.label
            if len({other.case.dtype for other in rows if other.case.kind == "size"}) > 1:
                label += f", {row.case.dtype}"
            found.setdefault(label, []).append((row.case.bytes, share))
    return {label: sorted(points) for label, points in found.items() if len(points) > 1}


def write_chart(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw a picture; its format follows from the name.

    Raises:
        NoChart: matplotlib is not installed, or refuses, or there is nothing to draw.
    """
    drawn = curves(rows)
    if not drawn:
        raise NoChart("a chart needs at least two sizes with a limit")
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ImportError:
        raise NoChart("matplotlib is not installed (pip install matplotlib)") from None
    figure: Any = figures.Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    marks = "osv^D<>ph*X"
    for number, (label, points) in enumerate(drawn.items()):
        sizes, shares = zip(*points, strict=True)
        own = label.startswith(("transport", "engine", "python"))
        axes.plot(
            sizes,
            shares,
            marker=marks[number % len(marks)],
            markersize=5,
            linestyle="-" if own else "--",
            label=label,
        )
    _scale(axes, sorted({size for points in drawn.values() for size, _ in points}))
    axes.set_title(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=5, fontsize=8)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise NoChart(f"{path}: {error}") from None


def _scale(axes: Any, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [size_text(size) for size in sizes], rotation=30, ha="right")
    axes.minorticks_off()
    low, high = axes.get_ylim()
    steps = [step for step in _PERCENTS if low <= step <= max(high, 100)]
    axes.set_yticks(steps, [f"{step:g} %" for step in steps])
    axes.set_ylim(low, max(high, 115))
    axes.axhline(100, color="black", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.set_xlabel("message size")
    axes.set_ylabel("share of the machine's limit")


_PERCENTS = (0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
