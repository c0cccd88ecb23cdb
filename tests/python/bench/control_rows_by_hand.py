"""Rows of the simulated control plane made by hand."""

from __future__ import annotations

from rueda._bench.control_rows import ControlFigures, ControlRow


def figures(total: float) -> ControlFigures:
    parts = (total / 2, total / 4, total / 8, total / 8)
    return ControlFigures(total, *parts, total, total / 3, total / 2, 2046, 1023, 47313750, 7, 1)


def control_row(
    case: str, ranks: int, *totals: float, bare: tuple[float, ...] = (), topology: str = "star"
) -> ControlRow:
    return ControlRow(
        case,
        topology,
        ranks,
        tuple(figures(total) for total in totals),
        tuple(figures(total) for total in bare or totals),
    )
