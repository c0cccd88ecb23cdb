"""Verdict: what a goal asked for, what was reached, and whether that is enough. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rueda._bench.placement import UNCLEAR
from rueda._bench.rows import Row

WORDS = {True: "met", False: "not met", None: "not shown"}
NOT_MEASURED = "not measured in this run"


@dataclass(frozen=True)
class Verdict:
    """One line of the table.

    Attributes:
        goal: Its number.
        what: What is measured.
        reached: The figure, or why there is none.
        target: What is aimed for.
        met: None where this run cannot show it.
    """

    goal: str
    what: str
    reached: str
    target: str
    met: bool | None


def judged(verdict: Verdict, row: Row) -> Verdict:
    """Take a verdict back where the ranks of its row did not all run when it was measured."""
    if row.placement != UNCLEAR:
        return verdict
    return replace(verdict, reached=f"{verdict.reached}, but the machine was busy", met=None)
