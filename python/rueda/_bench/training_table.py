"""Training steps as text and as Markdown's cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rueda._bench.plan import describe_case
from rueda._bench.rows import Row
from rueda._bench.training import TrainingRow, ddp_beside, training_rows

Lines = Sequence[TrainingRow]


@dataclass(frozen=True)
class _Column:
    title: str
    width: int
    text: Callable[[Lines, TrainingRow], str]


def _millis(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _alone(line: TrainingRow) -> str:
    return "" if line.is_alone or line.alone is None else _millis(line.alone.time)


def _overlap(line: TrainingRow) -> str:
    return "" if line.overlap is None else f"{100 * line.overlap:.0f} %"


def _against_ddp(lines: Lines, line: TrainingRow) -> str:
    ratio = line.times_faster_than(ddp_beside(lines, line))
    return "" if ratio is None else f"{ratio:.1f}x"


def _placement(row: Row) -> str:
    return row.placement + (f" {row.round_trip_ns:.0f} ns" if row.round_trip_ns else "")


_COLUMNS = (
    _Column("road", 15, lambda _, line: line.step.variant.label),
    _Column("step ms", 7, lambda _, line: _millis(line.step.time)),
    _Column("alone", 7, lambda _, line: _alone(line)),
    _Column("exposed", 7, lambda _, line: _millis(line.exposed)),
    _Column("% lost", 6, lambda _, line: _share(line.lost_percent)),
    _Column("comm ms", 7, lambda _, line: _millis(line.communication)),
    _Column("overlap", 7, lambda _, line: _overlap(line)),
    _Column("vs DDP", 6, _against_ddp),
    _Column("wrong", 5, lambda _, line: str(line.step.measured.wrong)),
)
_PLACED = _Column("placement", 19, lambda _, line: _placement(line.step))
_WIDE = sum(column.width + 1 for column in (*_COLUMNS, _PLACED))


def training_title(rows: Sequence[Row], *, width: int) -> str:
    """Say what all lines have in common; where they run, too, if that gets no column."""
    words = [describe_case(rows[0].case)]
    if width < _WIDE:
        words.append(_placement(rows[0]))
    return "; ".join(words)


def training_text(rows: Sequence[Row], *, width: int) -> list[str]:
    """Return the table of one case for a terminal."""
    shown = _COLUMNS if width < _WIDE else (*_COLUMNS, _PLACED)
    lines = training_rows(rows)
    cells = [[column.title for column in shown]]
    cells += [[column.text(lines, line) for column in shown] for line in lines]
    return [_padded(shown, row) for row in cells]


def _padded(shown: Sequence[_Column], cells: Sequence[str]) -> str:
    padded = [
        f"{cell:<{column.width}}" if column.title in TRAINING_LEFT else f"{cell:>{column.width}}"
        for cell, column in zip(cells, shown, strict=True)
    ]
    return " ".join(padded).rstrip()


TRAINING_LEFT = ("road", "placement")


def training_cells(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return titles and cells of all columns."""
    lines, columns = training_rows(rows), (*_COLUMNS, _PLACED)
    titles = [column.title for column in columns]
    return titles, [[column.text(lines, line) for column in columns] for line in lines]
