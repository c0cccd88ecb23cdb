"""The goal on training steps, judged from their rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rueda._bench.plan import TRAINING_ROADS
from rueda._bench.rows import Row
from rueda._bench.statistics import percentile
from rueda._bench.training import TrainingRow, ddp_beside, line_of, training_rows
from rueda._bench.verdict import NOT_MEASURED, Verdict, judged

_MOST_LOST = 5.0  # percent
_MOST_GAINED = 2.0
_MOST_SPREAD = 1.25
_LEAST_STEP_S = 0.2
_DDP_TIMES, _HOROVOD_TIMES, _HOROVOD_MPI_TIMES = 5.0, 10.0, 5.0


def training_verdicts(goal: str, rows: Sequence[Row]) -> list[Verdict]:
    """Judge ResNet-50's steps on two ranks, with both ways to clear gradients."""
    steps = [row for row in rows if row.ranks == 2 and row.case.model == "resnet50"]
    lines = training_rows(steps)
    found = []
    for road in ("rueda", "rueda-kept"):
        line = line_of(lines, road)
        how = "kept as zeros" if TRAINING_ROADS[road].keeps else "set to None"
        what = f"gradients of ResNet-50 in training, {how}"
        ddp = None if line is None else ddp_beside(lines, line)
        found.append(_faster(goal, what, line, ddp, "DDP(gloo)", _DDP_TIMES))
        if road == "rueda":
            horovod = line_of(lines, "horovod")
            found.append(_faster_than_horovod(goal, what, line, horovod))
        found.append(_lost(goal, f"a step of at least 200 ms, gradients {how}", line))
    return found


def _faster(
    goal: str,
    what: str,
    line: TrainingRow | None,
    other: TrainingRow | None,
    name: str,
    target: float,
) -> Verdict:
    wanted = f"communication at least {target:g}x faster than {name}"
    if line is None or line.communication is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    if other is None or other.communication is None:
        return Verdict(goal, what, f"{name} was not measured in this run", wanted, None)
    value = line.times_faster_than(other)
    if value is None:
        return Verdict(goal, what, "took no time that shows", wanted, None)
    reached = f"{value:.1f}x ({line.communication * 1e3:.1f} ms)"
    verdict = Verdict(goal, what, reached, wanted, value >= target)
    return _on_a_quiet_machine(verdict, line, line.bare_alone)


def _faster_than_horovod(
    goal: str, what: str, line: TrainingRow | None, horovod: TrainingRow | None
) -> Verdict:
    verdict = _faster(goal, what, line, horovod, "Horovod", _HOROVOD_TIMES)
    value = None if line is None else line.times_faster_than(horovod)
    if verdict.met is not False or value is None or value < _HOROVOD_MPI_TIMES:
        return verdict
    # Horovod picks its road when it starts, and does not say which it was.
    enough = f"enough ({_HOROVOD_MPI_TIMES:g}x) if Horovod ran on MPI"
    return replace(verdict, reached=f"{verdict.reached}, {enough}", met=None)


def _lost(goal: str, what: str, line: TrainingRow | None) -> Verdict:
    wanted = f"below {_MOST_LOST:g} % lost against ranks that do not communicate"
    lost = None if line is None else line.lost_percent
    if line is None or line.alone is None or lost is None:
        return Verdict(goal, what, NOT_MEASURED, wanted, None)
    reached = f"{lost:.1f} % of {line.alone.time * 1e3:.0f} ms"
    if line.alone.time < _LEAST_STEP_S:
        return Verdict(goal, what, f"{reached}, a shorter step", wanted, None)
    if lost < -_MOST_GAINED:
        # Nobody computes faster for communicating: something else ran during the other steps.
        return Verdict(goal, what, f"{reached}, but the machine was busy", wanted, None)
    verdict = Verdict(goal, what, reached, wanted, lost < _MOST_LOST)
    return _on_a_quiet_machine(verdict, line, line.alone)


def _on_a_quiet_machine(verdict: Verdict, line: TrainingRow, alone: Row | None) -> Verdict:
    """Take a verdict back where steps alone, which always do the same, took now less, now more."""
    if alone is None:
        return verdict
    low, high = percentile(alone.seconds, 25), percentile(alone.seconds, 75)
    if high > _MOST_SPREAD * low:
        spread = f"alone {low * 1e3:.0f} to {high * 1e3:.0f} ms"
        busy = f"{verdict.reached}, but the machine was busy ({spread})"
        return replace(verdict, reached=busy, met=None)
    return judged(verdict, line.step)
