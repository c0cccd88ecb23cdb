"""A report as Markdown: one table with every column, and the goals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rueda._bench.control_table import CONTROL_LEFT, control_cells, how_made
from rueda._bench.plan import describe_case
from rueda._bench.report import Report
from rueda._bench.rows import Row
from rueda._bench.text_table import COLUMNS, beside_text
from rueda._bench.training_table import training_cells
from rueda._bench.verdict import WORDS

_LEFT = ("type", "op", "road", "placement")


def markdown(report: Report) -> str:
    """Return the whole page."""
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines = [
        f"# `{report.command}`",
        "",
        f"{report.began}; {machine.processor}, {machine.cores} cores, "
        f"{machine.memory_bytes / (1 << 30):.0f} GiB, Linux {machine.kernel}; "
        f"Python {machine.python}, {versions}. Medians of {report.rounds} rounds.",
    ]
    for ranks in sorted({row.ranks for row in report.rows}):
        lines += ["", f"## {ranks} rank{'s' if ranks > 1 else ''}", ""]
        lines += _rows([row for row in report.rows if row.ranks == ranks])
    if report.control and report.control_settings is not None:
        titles, cells = control_cells(report.control)
        lines += ["", "## Control plane, simulated", "", how_made(report.control_settings), ""]
        lines += _table(titles, cells, left=CONTROL_LEFT)
    if report.verdicts:
        lines += ["", "## Goals", ""]
        lines += _table(
            ("goal", "what", "reached", "target", "met"),
            [
                (verdict.goal, verdict.what, verdict.reached, verdict.target, WORDS[verdict.met])
                for verdict in report.verdicts
            ],
            left=("what", "reached", "target", "met"),
        )
    if report.remarks:
        lines += ["", *(f"* {remark}" for remark in report.remarks)]
    return "\n".join(lines) + "\n"


def _rows(rows: Sequence[Row]) -> list[str]:
    measured = [row for row in rows if row.case.kind not in ("beside", "train")]
    titles = ["case", *(column.title for column in COLUMNS)]
    cells = [
        [describe_case(row.case) or row.case.collective, *(column.text(row) for column in COLUMNS)]
        for row in measured
    ]
    lines = _table(titles, cells, left=("case", *_LEFT)) if cells else []
    beside = [row for row in rows if row.case.kind == "beside"]
    lines += [line for row in beside for line in ("", beside_text(row))]
    return lines + _training([row for row in rows if row.case.kind == "train"])


def _training(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    titles, cells = training_cells(rows)
    return ["", describe_case(rows[0].case), "", *_table(titles, cells, left=_LEFT)]


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str]) -> list[str]:
    marks = ["---" if title in left else "--:" for title in titles]
    return [f"| {' | '.join(cells)} |" for cells in (titles, marks, *rows)]
