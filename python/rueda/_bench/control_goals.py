"""The goals on the control plane, judged from simulated rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rueda._bench.control_rows import ControlRow, find
from rueda._bench.control_settings import TOPOLOGIES
from rueda._bench.text_table import micros
from rueda._bench.verdict import NOT_MEASURED, Verdict

_CYCLE_S, _GROWTH, _UNCACHED_S = 5e-6, 12.0, 10e-3
_MANY = 1024
_MOST_SPREAD = 1.25


def control_verdicts(goal: str, rows: Sequence[ControlRow]) -> list[Verdict]:
    """Judge the coordination of 2 and of 1,024 ranks, without links, and a first step with them."""
    topology = TOPOLOGIES[-1]
    two = find(rows, "cached", topology, 2)
    many = find(rows, "cached", topology, _MANY)
    first = find(rows, "uncached", topology, _MANY)
    return [_cycle(goal, two), _growth(goal, two, many), _uncached(goal, first)]


def _cycle(goal: str, two: ControlRow | None) -> Verdict:
    what, wanted = "300 cached tensors agreed on by 2 ranks", "below 5 us a cycle"
    if two is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    reached = f"{micros(two.bare_time)} us; {micros(two.time)} us with links"
    return _settled(Verdict(goal, what, reached, wanted, two.bare_time < _CYCLE_S), two)


def _growth(goal: str, two: ControlRow | None, many: ControlRow | None) -> Verdict:
    what = "300 cached tensors agreed on by 1,024 simulated ranks"
    wanted = f"at most {_GROWTH:g}x as long as by 2"
    if two is None or many is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    ratio = many.bare_time / two.bare_time
    reached = (
        f"{ratio:.1f}x ({micros(many.bare_time)} us, {many.topology}); "
        f"{micros(many.time)} us with links"
    )
    verdict = _settled(Verdict(goal, what, reached, wanted, ratio <= _GROWTH), many)
    return _settled(verdict, two)


def _uncached(goal: str, first: ControlRow | None) -> Verdict:
    what, wanted = "first step of 1,024 simulated ranks, uncached", "at most 10 ms"
    if first is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    reached = f"{first.time * 1e3:.1f} ms with links ({first.topology})"
    return _settled(Verdict(goal, what, reached, wanted, first.time <= _UNCACHED_S), first)


def _settled(verdict: Verdict, row: ControlRow) -> Verdict:
    """Take a verdict back where steps that do the same took now less, now more time."""
    if row.spread <= _MOST_SPREAD or verdict.met is None:
        return verdict
    reached = f"{verdict.reached}, but the machine was busy"
    return Verdict(verdict.goal, verdict.what, reached, verdict.target, None)
