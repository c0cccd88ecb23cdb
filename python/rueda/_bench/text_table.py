"""Rows as text for a terminal or a file, and the words that go with them. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rueda._bench.beside import lost_to_calls, lost_to_waking
from rueda._bench.plan import LIMIT, Case, describe_case
from rueda._bench.rows import Measured, Row
from rueda._bench.training_table import training_text, training_title

# What the wide table needs; narrower terminals get a heading for each case instead.
WIDE = 148


@dataclass(frozen=True)
class Column:
    """One column: its title, its width, whether a heading can carry it, and its text."""

    title: str
    width: int
    shared: bool
    text: Callable[[Row], str]


def micros(seconds: float) -> str:
    """Return microseconds with about four digits."""
    value = seconds * 1e6
    if value < 100:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 10_000 else f"{value:.0f}"


def rate(bytes_a_second: float) -> str:
    """Return GB/s, decimal, with two digits after the point as nccl-tests does."""
    return f"{bytes_a_second / 1e9:.2f}"


def size_text(size: int) -> str:
    """Return a size in the largest unit that fits it exactly: ``64 MiB``."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B" if size < 1 << 20 else f"{size / 1e6:.1f} MB"


def percent(value: float | None) -> str:
    """Return a percentage, or nothing where there is none."""
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _placement(row: Row) -> str:
    return row.placement + (f" {row.round_trip_ns:.0f} ns" if row.round_trip_ns else "")


COLUMNS = (
    Column("size", 10, True, lambda row: str(row.case.bytes)),
    Column("count", 10, True, lambda row: str(row.case.count)),
    Column("type", 8, True, lambda row: row.case.dtype),
    Column("op", 7, True, lambda row: row.case.op),
    Column("road", 18, False, lambda row: row.variant.label),
    Column("time us", 9, False, lambda row: micros(row.time)),
    Column("algbw", 7, False, lambda row: rate(row.algbw)),
    Column("busbw", 7, False, lambda row: rate(row.busbw)),
    Column("wrong", 5, False, lambda row: str(row.measured.wrong)),
    Column("limit us", 9, True, lambda row: micros(row.limit_time) if row.limit_time else ""),
    Column("% limit", 7, False, lambda row: percent(row.percent_of_limit)),
    Column("p50 us", 9, False, lambda row: micros(row.measured.p50_s)),
    Column("p99 us", 9, False, lambda row: micros(row.measured.p99_s)),
    Column("placement", 19, True, _placement),
)


class TextTable:
    """Writes cases one after another, each as soon as it was measured."""

    def __init__(self, columns: int | None, *, colour: bool) -> None:
        """Lay out for a width, or for a file that has none."""
        self._wide = columns is None or columns >= WIDE
        self._width = 10_000 if columns is None else max(columns, 40)
        self._said: set[str] = set()
        self._colour = colour
        self._titled = False
        self._shown = [column for column in COLUMNS if self._wide or not column.shared]

    def case(self, case: Case, rows: Sequence[Row], results: Sequence[Measured]) -> list[str]:
        """Return the lines of one case."""
        lines = [] if self._titled and self._wide and case.kind == "size" else [""]
        if case.kind == "beside":
            told = [line for row in rows for line in textwrap.wrap(beside_text(row), self._width)]
            return [*lines, *told, *self._left_out(case, results)]
        if case.kind == "train":
            if rows:
                lines.append(self._strong(training_title(rows, width=self._width)))
                lines += training_text(rows, width=self._width)
            return [*lines, *self._left_out(case, results)]
        if not self._wide:
            lines.append(self._strong(heading(case, rows)))
        elif describe_case(case):
            lines.append(self._strong(describe_case(case)))
        if not self._titled or not self._wide:
            lines.append(self._line([column.title for column in self._shown]))
            self._titled = True
        for row in rows:
            text = self._line([column.text(row) for column in self._shown])
            lines.append(self._dim(text) if row.variant.level == LIMIT else text)
        return lines + self._left_out(case, results)

    def _left_out(self, case: Case, results: Sequence[Measured]) -> list[str]:
        """Say what was not measured, each reason once."""
        lines = []
        for variant, result in zip(case.variants, results, strict=True):
            text = f"without {variant.label}: {result.remark}"
            if result.remark and text not in self._said:
                self._said.add(text)
                lines += textwrap.wrap(text, self._width, subsequent_indent="  ")
        return lines

    def _line(self, cells: Sequence[str]) -> str:
        padded = [
            f"{cell:<{column.width}}"
            if column.title in ("road", "placement")
            else f"{cell:>{column.width}}"
            for cell, column in zip(cells, self._shown, strict=True)
        ]
        return " ".join(padded).rstrip()

    def _strong(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._colour else text


def heading(case: Case, rows: Sequence[Row]) -> str:
    """Say what all rows of a case have in common."""
    words = [describe_case(case) or _message(case)]
    if rows and rows[0].limit_time:
        words.append(f"limit {micros(rows[0].limit_time)} us")
    if rows:
        words.append(_placement(rows[0]))
    return "; ".join(words)


def _message(case: Case) -> str:
    op = f" {case.op}" if case.collective in ("allreduce", "reducescatter") else ""
    return f"{case.collective}{op} of {size_text(case.bytes)}, {case.count} {case.dtype}"


def beside_text(row: Row) -> str:
    """Say what calls and computing cost each other."""
    extra = row.measured.extra
    return (
        f"{describe_case(row.case)}: a call {micros(row.measured.p50_s)} us in the median, "
        f"p99 {micros(row.measured.p99_s)} us; computing loses {lost_to_calls(extra):.1f} %, and "
        f"{lost_to_waking(extra):.1f} % where callers wake up as often and call nothing"
    )
