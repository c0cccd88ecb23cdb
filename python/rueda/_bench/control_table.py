"""The simulated control plane as text for a terminal or a file, and as Markdown's cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rueda._bench.control_rows import ControlRow, two_ranks_beside
from rueda._bench.control_settings import CASES, ControlSettings, Link
from rueda._bench.text_table import micros

Rows = Sequence[ControlRow]
CONTROL_LEFT = ("case", "topology")


@dataclass(frozen=True)
class _Column:
    title: str
    width: int
    narrow: bool  # whether a terminal of 80 columns gets it, too
    text: Callable[[Rows, ControlRow], str]


def amount(number: int) -> str:
    """Return a number with at most four digits, or three and a decimal unit: ``47.3M``."""
    if number < 10_000:
        return str(number)
    for unit, factor in (("k", 10**3), ("M", 10**6)):
        if number < 999.5 * factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number / 10**9:.3g}G"


def growth(value: float, two: float | None) -> str:
    """Return how many times as much as with two ranks, or nothing where that is not known."""
    return "" if not two else f"{value / two:.1f}"


def _time_growth(rows: Rows, row: ControlRow) -> str:
    two = two_ranks_beside(rows, row)
    return growth(row.time, None if two is None else two.time)


def _bare_growth(rows: Rows, row: ControlRow) -> str:
    two = two_ranks_beside(rows, row)
    return growth(row.bare_time, None if two is None else two.bare_time)


_COLUMNS = (
    _Column("case", 8, False, lambda _, row: row.case),
    _Column("topology", 8, False, lambda _, row: row.topology),
    _Column("ranks", 5, True, lambda _, row: str(row.ranks)),
    _Column("messages", 8, True, lambda _, row: str(row.step.messages)),
    _Column("into 0", 6, False, lambda _, row: str(row.step.root_messages)),
    _Column("bytes", 7, False, lambda _, row: amount(row.step.bytes)),
    _Column("B into 0", 8, True, lambda _, row: amount(row.step.root_bytes)),
    _Column("time us", 8, True, lambda _, row: micros(row.time)),
    _Column("time x", 6, True, _time_growth),
    _Column("up", 8, False, lambda _, row: micros(row.step.up)),
    _Column("decide", 7, False, lambda _, row: micros(row.step.decide)),
    _Column("down", 7, False, lambda _, row: micros(row.step.down)),
    _Column("plan", 7, False, lambda _, row: micros(row.step.plan)),
    _Column("cpu 0", 8, True, lambda _, row: micros(row.step.root_cpu)),
    _Column("cpu other", 9, True, lambda _, row: micros(row.step.other_cpu)),
    _Column("no links", 8, True, lambda _, row: micros(row.bare_time)),
    _Column("no links x", 10, True, _bare_growth),
)
_WIDE = sum(column.width + 1 for column in _COLUMNS) - 1


class ControlTable:
    """Writes rows one after another, each as soon as it was simulated."""

    def __init__(self, columns: int | None) -> None:
        """Lay out for a width, or for a file that has none."""
        self._wide = columns is None or columns >= _WIDE
        self._shown = [column for column in _COLUMNS if self._wide or column.narrow]
        self._headed: tuple[str, str] | None = None

    def lines(self, rows: Rows) -> list[str]:
        """Return the lines of the last row, with a heading where a table begins."""
        row = rows[-1]
        lines = []
        if self._headed != (row.case, row.topology):
            lines.append("")
            if not self._wide:
                lines.append(f"{row.case}, {row.topology}: {CASES[row.case]}")
            if not self._wide or self._headed is None:
                lines.append(self._line([column.title for column in self._shown]))
            self._headed = (row.case, row.topology)
        return [*lines, self._line([column.text(rows, row) for column in self._shown])]

    def _line(self, cells: Sequence[str]) -> str:
        padded = [
            f"{cell:<{column.width}}" if column.title in CONTROL_LEFT else f"{cell:>{column.width}}"
            for cell, column in zip(cells, self._shown, strict=True)
        ]
        return " ".join(padded).rstrip()


def control_cells(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells of all columns."""
    titles = [column.title for column in _COLUMNS]
    return titles, [[column.text(rows, row) for column in _COLUMNS] for row in rows]


def how_made(settings: ControlSettings) -> str:
    """Say in one sentence what is real and what is assumed."""
    skew = f", submitted within {settings.skew_us:g} us" if settings.skew_us else ""
    return (
        f"Simulated in one process, in virtual time: {settings.tensors} tensors a rank{skew}; what "
        f"coordinator and ranks compute is measured, medians of {settings.rounds} steps; messages "
        f"take {_link(settings.within_host)} within a host of {settings.ranks_per_host} ranks and "
        f"{_link(settings.between_hosts)} between hosts. no links: messages that cost nothing."
    )


def _link(link: Link) -> str:
    rate = f" and {link.gb_per_s:g} GB/s" if link.gb_per_s else ""
    return f"{link.latency_us:g} us{rate}, {link.message_us:g} us of CPU at either end"
